"""From a function to machine code that needs nothing of numba at run time."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import compiler, config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.runtime.native import ENTRY

F = TypeVar("F", bound=Callable[..., Any])
# Strictly IEEE: no fastmath, so that every CPU gives the same bits.
_OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
_NUMBERS: dict[Any, Any] = {np.float32: types.float32, np.float64: types.float64}


def subroutine(function: F) -> F:
    """A part of kernels, compiled with each of them."""
    compiled: F = numba.njit(inline="always", no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(
        function
    )
    return compiled


@global_compiler_lock  # type: ignore[untyped-decorator, unused-ignore]
def machine_code(function: Callable[..., Any]) -> tuple[str, bytes]:
    """Of a kernel: its arguments as `struct` packs them, and an object file with the function ENTRY.

    ENTRY takes the address of the packed arguments, and returns what the kernel does, 0 for nothing.
    """
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        # What the tier was chosen by.
        wanted, found = os.environ.get(name), getattr(config, name.removeprefix("NUMBA_"))
        if found and found != wanted:
            raise KernelInputError(
                f"numba's settings say {found!r}: set the environment variable {name} to it"
            )
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    signature = tuple(_NUMBERS.get(function.__annotations__.get(name), types.int64) for name in arguments)
    flags = compiler.Flags()
    flags.error_model = "numpy"
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    found = compiler.compile_extra(
        cpu_target.typing_context, cpu_target.target_context, function, signature, None, flags, {}
    )
    return "".join("q" if type_ is types.int64 else "d" for type_ in signature), _object_file(found)


def _object_file(kernel: Any) -> bytes:
    """The kernel behind an ENTRY that unpacks its arguments."""
    context, library = kernel.target_context, kernel.library
    module = library.create_ir_module(ENTRY)
    word = ir.IntType(64)
    entry = ir.Function(module, ir.FunctionType(word, [word]), ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block())
    arguments = []
    for i, type_ in enumerate(kernel.signature.args):
        packed = word if type_ is types.int64 else ir.DoubleType()
        at = builder.inttoptr(builder.add(entry.args[0], word(8 * i)), packed.as_pointer())
        value = builder.load(at, align=1)
        arguments.append(builder.fptrunc(value, ir.FloatType()) if type_ is types.float32 else value)
    result = kernel.signature.return_type
    _status, value = context.call_conv.call_function(
        builder, context.declare_function(module, kernel.fndesc), result, kernel.signature.args, arguments
    )
    if result is types.none:
        value = word(0)
    elif result is not types.int64:
        raise TypeError(f"{kernel.fndesc.qualname} returns {result}, not an integer")
    builder.ret(value)
    library.add_ir_module(module)
    # Else it would be compiled once for the entry and once for nobody.
    library._final_module.get_function(kernel.fndesc.llvm_func_name).linkage = "internal"
    library.finalize()
    outside = [
        function.name
        for function in library._final_module.functions
        if function.is_declaration and not function.name.startswith("llvm.")
    ]
    if outside:
        raise TypeError(f"{kernel.fndesc.qualname} calls {', '.join(outside)}, which only numba knows")
    code: bytes = library.codegen._tm.emit_object(library._final_module)
    return code
