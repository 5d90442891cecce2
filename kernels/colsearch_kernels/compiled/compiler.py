"""Compile a function to machine code that needs nothing of Numba at run time."""

import os
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

import numba
from numba import types
from numba.core import compiler, config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from colsearch_kernels.compiled.entry import add_entry, numba_type
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.runtime.entry import API_FUNCTIONS, name_addresses

F = TypeVar("F", bound=Callable[..., Any])
# Strictly IEEE: no fastmath, so that every CPU gives the same bits.
_OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}


def subroutine(function: F) -> F:
    """A part of kernels, compiled into each kernel that calls it."""
    compiled: F = numba.njit(inline="always", no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(
        function
    )
    return compiled


@global_compiler_lock  # type: ignore[untyped-decorator, unused-ignore]
def machine_code(function: Callable[..., Any]) -> bytes:
    """An object file with the kernel and its entry, see runtime/entry.py.

    The annotations of the parameters say what the entry accepts, see compiled/entry.py.

    Raises:
        KernelInputError: if Numba compiles for another processor than the tier was chosen for.
        TypeError: if the kernel returns something else than an integer, a float64 or None, or calls a function
            that only Numba provides.
    """
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        # The tier was chosen by the environment variable; Numba also reads a configuration file.
        wanted, found = os.environ.get(name), getattr(config, name.removeprefix("NUMBA_"))
        if found and found != wanted:
            raise KernelInputError(
                f"numba's settings say {found!r}: set the environment variable {name} to it"
            )
    hints = get_type_hints(function)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    annotations = {name: hints[name] for name in names}
    signature = tuple(numba_type(annotation) for annotation in annotations.values())
    flags = compiler.Flags()
    flags.error_model = "numpy"
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    kernel = compiler.compile_extra(
        cpu_target.typing_context, cpu_target.target_context, function, signature, None, flags, {}
    )
    returned = kernel.signature.return_type
    if returned not in (types.int64, types.float64, types.none):
        raise TypeError(f"{kernel.fndesc.qualname} returns {returned}, not an integer, float64 or None")
    return _object_file(kernel, annotations)


def _object_file(kernel: Any, annotations: dict[str, Any]) -> bytes:
    # Numba loads what it compiles, so the names must be known to it, too.
    name_addresses()
    library = kernel.library
    module = library.create_ir_module("entry")
    add_entry(module, kernel, annotations)
    library.add_ir_module(module)
    # An exported kernel would be compiled twice: inlined into its entry, and again for callers that do not exist.
    library._final_module.get_function(kernel.fndesc.llvm_func_name).linkage = "internal"
    library.finalize()
    unknown = [
        function.name
        for function in library._final_module.functions
        if function.is_declaration
        and not function.name.startswith("llvm.")
        and function.name not in API_FUNCTIONS
    ]
    if unknown:
        raise TypeError(f"{kernel.fndesc.qualname} calls {', '.join(unknown)}, which only numba knows")
    code: bytes = library.codegen._tm.emit_object(library._final_module)
    return code
