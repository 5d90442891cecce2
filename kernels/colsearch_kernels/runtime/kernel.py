"""Kernels as Python calls them: machine code from a cache, compiled where it is not there yet.

The cache holds object files, which llvmlite loads. Numba's own cache is made of pickles, and importing Numba to read
it takes a second in each process.
"""

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from colsearch_kernels.runtime import machine_code_cache
from colsearch_kernels.runtime.entry import ENTRY, name_addresses

_PATIENCE_SECONDS = 1.0
_MESSAGE = "compiling kernels for this processor: a few seconds, once; then they are cached"
# The calling convention of an entry, see `PyMethodDef` in Python's documentation.
_METH_FASTCALL = 0x0080
_log = logging.getLogger("colsearch_kernels")
_lock = threading.RLock()
# Owners of the loaded machine code, and the descriptions that Python's function objects point to.
_kept_alive: list[Any] = []
if hasattr(os, "register_at_fork"):
    # A fork waits for a kernel that another thread loads: in the child, nobody would free the lock.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def kernel(name: str, namespace: dict[str, Any]) -> Callable[..., Any]:
    """A function of a module in `compiled`, for a module whose global of the same name it becomes.

    The first call loads the machine code and puts it into the global, so that later calls are calls of a built-in
    function. Its arguments are arrays, numbers, None, and named tuples of these; arguments of a wrong type or
    number raise TypeError. The GIL is free while machine code runs.

    Args:
        name: "module.function".
        namespace: `globals()` of the module that calls the kernel.
    """

    def load_and_run(*arguments: Any) -> Any:
        function = namespace[load_and_run.__name__] = _loaded(name)
        return function(*arguments)

    load_and_run.__name__ = name.split(".")[1]
    return load_and_run


_loaded_kernels: dict[str, Callable[..., Any]] = {}


def _loaded(name: str) -> Callable[..., Any]:
    with _lock:
        if name not in _loaded_kernels:
            code = machine_code_cache.read(name) or _compiled(name)
            _loaded_kernels[name] = _built_in(name, _entry_address(code))
        return _loaded_kernels[name]


def _compiled(name: str) -> bytes:
    with _Announcement():
        from colsearch_kernels.compiled.compiler import machine_code

        module, function = name.split(".")
        compiled = import_module(f"colsearch_kernels.compiled.{module}")
        code: bytes = machine_code(getattr(compiled, function))
    machine_code_cache.write(name, code)
    return code


class _Announcement:
    """Logs a warning, once per process, when compiling kernels takes longer than a second in all."""

    _seconds_left = _PATIENCE_SECONDS

    def __enter__(self) -> None:
        self._start = time.monotonic()
        self._timer = threading.Timer(max(self._seconds_left, 0), self._announce)
        self._timer.daemon = True
        if self._seconds_left < float("inf"):
            self._timer.start()

    @classmethod
    def _announce(cls) -> None:
        cls._seconds_left = float("inf")
        _log.warning(_MESSAGE)

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        _Announcement._seconds_left -= time.monotonic() - self._start


class _MethodDef(ctypes.Structure):
    """`PyMethodDef` of Python's C API."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def _built_in(name: str, address: int) -> Callable[..., Any]:
    """A built-in function whose code is at an address."""
    method = _MethodDef(name.encode(), address, _METH_FASTCALL, None)
    _kept_alive.append(method)
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.argtypes, new.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p), ctypes.py_object
    function: Callable[..., Any] = new(ctypes.addressof(method), None, None)
    return function


def _entry_address(code: bytes) -> int:
    """Load an object file; the address of its entry."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    name_addresses()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _kept_alive.append(engine)
    address: int = engine.get_function_address(ENTRY)
    return address
