"""How Python enters machine code: the names that the compiler writes into an object file and the loader resolves.

The entry of a kernel is a function of Python's C API with the calling convention METH_FASTCALL, as a C extension
has them: it gets Python objects, checks and converts them, releases the GIL and runs the kernel.
"""

import ctypes

import numpy as np

# The function in an object file that Python calls.
ENTRY = "colsearch_kernel"
# Functions of Python's C API that an entry may call, and the objects whose addresses it needs.
API_FUNCTIONS = (
    "PyErr_Occurred",
    "PyErr_SetString",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyFloat_AsDouble",
    "PyFloat_FromDouble",
    "PyLong_AsLongLong",
    "PyLong_FromLongLong",
    "PyTuple_GetItem",
    "PyTuple_Size",
    "PyType_IsSubtype",
    "Py_IncRef",
)
TYPE_ERROR, NONE, ARRAY_TYPE = "colsearch_TypeError", "colsearch_None", "colsearch_ndarray"
# The head that all Python objects begin with; its last field is the object's type.
OBJECT_HEAD_BYTES = object.__basicsize__


def name_addresses() -> None:
    """Tell LLVM the addresses of everything that an entry refers to outside of its object file."""
    import llvmlite.binding as llvm

    for name in API_FUNCTIONS:
        llvm.add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)
    for name, python_object in ((TYPE_ERROR, TypeError), (NONE, None), (ARRAY_TYPE, np.ndarray)):
        llvm.add_symbol(name, id(python_object))
