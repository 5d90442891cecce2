"""Kernels as Python calls them: machine code from a cache, compiled where it is not there yet.

What is cached is an object file, which llvmlite loads. Importing numba to read a cache of its own takes a second in
each process, and that cache is made of pickles.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_char_p, c_int64
from importlib import import_module
from struct import Struct
from typing import Any

from colsearch_kernels.runtime import machine_code_cache

# The function within an object file.
ENTRY = "colsearch_kernel"
_Entry = CFUNCTYPE(c_int64, c_char_p)
_PATIENCE_SECONDS = 1.0
_MESSAGE = "compiling kernels for this processor: a few seconds, once; then they are cached"
_log = logging.getLogger("colsearch_kernels")
_lock = threading.RLock()
# LLVM's owners of the loaded code.
_engines: list[Any] = []
if hasattr(os, "register_at_fork"):
    # A fork waits for a kernel that another thread loads: in the child, nobody would free the lock.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Kernel:
    """A function of a module in `compiled`, loaded at its first call; the GIL is free while it runs.

    Arguments are numbers, and addresses of arrays that the caller keeps alive; the result is an integer.

    Args:
        name: "module.function".
    """

    __slots__ = ("_entry", "_name", "_pack")

    def __init__(self, name: str) -> None:
        self._name = name
        self._pack: Callable[..., bytes] = self._load_and_pack

    def __call__(self, *arguments: float) -> int:
        # Packed, many arguments cost ctypes no more than one.
        packed = self._pack(*arguments)
        result: int = self._entry(packed)
        return result

    def _load_and_pack(self, *arguments: float) -> bytes:
        with _lock:
            # Another thread may have been first.
            if self._pack == self._load_and_pack:
                packing, code = machine_code_cache.read(self._name) or _compiled(self._name)
                self._entry = _Entry(_address(code))
                self._pack = Struct(packing).pack
        return self._pack(*arguments)


def _compiled(name: str) -> tuple[str, bytes]:
    with _Announcement():
        from colsearch_kernels.compiled.compiler import machine_code

        module, function = name.split(".")
        compiled = import_module(f"colsearch_kernels.compiled.{module}")
        found: tuple[str, bytes] = machine_code(getattr(compiled, function))
    machine_code_cache.write(name, *found)
    return found


class _Announcement:
    """Says so, once, when compiling kernels takes longer than a second in all."""

    _left = _PATIENCE_SECONDS

    def __enter__(self) -> None:
        self._start = time.monotonic()
        self._timer = threading.Timer(max(self._left, 0), self._announce)
        self._timer.daemon = True
        if self._left < float("inf"):
            self._timer.start()

    @classmethod
    def _announce(cls) -> None:
        cls._left = float("inf")
        _log.warning(_MESSAGE)

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        _Announcement._left -= time.monotonic() - self._start


def _address(code: bytes) -> int:
    """Where the entry of an object file is, once it is loaded."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    address: int = engine.get_function_address(ENTRY)
    return address
