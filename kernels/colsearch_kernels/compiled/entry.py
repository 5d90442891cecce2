"""LLVM IR of a kernel's entry: it takes Python objects apart, as a function of a C extension does.

The annotation of a kernel's parameter says what its argument must be, and what the kernel gets:

- an array type such as F32: a C-contiguous, aligned NumPy array of this dtype; the address of its first element.
  NDArray[Any] takes every dtype. `F32 | None` also takes None, whose address is 0.
- int: an integer; 64 bits. float: a float64. np.float32: a number, rounded to float32.
- a NamedTuple class: a tuple whose items are converted in the same way; a named tuple of them.
"""

import sys
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from llvmlite import ir
from numba import types

from colsearch_kernels.runtime.entry import ARRAY_TYPE, ENTRY, NONE, OBJECT_HEAD_BYTES, TYPE_ERROR

# A pointer is a 64-bit integer here, as everywhere in this package.
_WORD, _INT32, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)
_DOUBLE, _FLOAT = ir.DoubleType(), ir.FloatType()
# Places in `PyArrayObject` of numpy/ndarraytypes.h, and in the `PyArray_Descr` that describes the dtype. Compiled
# extensions rely on this layout, so it cannot change within NumPy's ABI.
_DATA, _DESCRIPTION, _FLAGS = (OBJECT_HEAD_BYTES + place for place in (0, 40, 48))
_BYTE_ORDER, _TYPE_NUMBER = (OBJECT_HEAD_BYTES + place for place in (10, 12))
_C_CONTIGUOUS, _ALIGNED = 0x0001, 0x0100
_SWAPPED = ord(">" if sys.byteorder == "little" else "<")
_ANY_DTYPE = object()


def numba_type(annotation: Any) -> Any:
    """The type that the kernel gets for an argument."""
    if _is_group(annotation):
        fields = [numba_type(field) for field in get_type_hints(annotation).values()]
        return types.BaseTuple.from_types(fields, annotation)
    return {float: types.float64, np.float32: types.float32}.get(annotation, types.int64)


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, tuple)


def add_entry(module: ir.Module, kernel: Any, annotations: dict[str, Any]) -> None:
    """Add the function ENTRY to a module; it calls a kernel that Numba compiled.

    Args:
        annotations: of the kernel's parameters, by name.
    """
    entry = ir.Function(module, ir.FunctionType(_WORD, [_WORD] * 3), ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block())
    _self, arguments, n_arguments = entry.args
    name = kernel.fndesc.qualname.split(".")[-1]
    conversion = _Conversion(module, builder, kernel.target_context, name)
    wrong_number = builder.icmp_unsigned("!=", n_arguments, _WORD(len(annotations)))
    conversion.refuse_if(wrong_number, f"{name} takes {len(annotations)} arguments")
    converted = [
        conversion.value(conversion.load(arguments, 8 * i, _WORD), annotation, parameter)
        for i, (parameter, annotation) in enumerate(annotations.items())
    ]
    state = conversion.call("PyEval_SaveThread", _WORD)
    returned = kernel.signature.return_type
    function = kernel.target_context.declare_function(module, kernel.fndesc)
    _status, result = kernel.target_context.call_conv.call_function(
        builder, function, returned, kernel.signature.args, converted
    )
    conversion.call("PyEval_RestoreThread", ir.VoidType(), state)
    builder.ret(conversion.python_object(result, returned))


class _Conversion:
    """Emits the conversion of Python objects into what a kernel takes."""

    def __init__(self, module: ir.Module, builder: ir.IRBuilder, context: Any, kernel_name: str) -> None:
        self._module, self._builder, self._context = module, builder, context
        self._kernel_name = kernel_name

    def value(self, item: Any, annotation: Any, parameter: str) -> Any:
        """The value of one argument, or of one field of a group; returns NULL to Python if it is of a wrong type."""
        if _is_group(annotation):
            fields = get_type_hints(annotation).items()
            size = self.call("PyTuple_Size", _WORD, item)
            message = f"{self._kernel_name}: {parameter} must be a {annotation.__name__}"
            self.refuse_if(self._builder.icmp_signed("!=", size, _WORD(len(fields))), message)
            values = [
                self.value(self.call("PyTuple_GetItem", _WORD, item, _WORD(i)), field, f"{parameter}.{name}")
                for i, (name, field) in enumerate(fields)
            ]
            return self._context.make_tuple(self._builder, numba_type(annotation), values)
        if annotation is int:
            return self._number(item, "PyLong_AsLongLong", _WORD)
        if annotation is float:
            return self._number(item, "PyFloat_AsDouble", _DOUBLE)
        if annotation is np.float32:
            return self._builder.fptrunc(self._number(item, "PyFloat_AsDouble", _DOUBLE), _FLOAT)
        return self._data_address(item, annotation, parameter)

    def _number(self, item: Any, converter: str, type_: Any) -> Any:
        value = self.call(converter, type_, item)
        # -1 is also what a failed conversion returns.
        compare = self._builder.fcmp_ordered if type_ is _DOUBLE else self._builder.icmp_signed
        with self._builder.if_then(compare("==", value, type_(-1)), likely=False):
            occurred = self.call("PyErr_Occurred", _WORD)
            with self._builder.if_then(self._builder.icmp_unsigned("!=", occurred, _WORD(0)), likely=False):
                # Python raises the error that its converter has set.
                self._builder.ret(_WORD(0))
        return value

    def _data_address(self, item: Any, annotation: Any, parameter: str) -> Any:
        """The address of an array's first element."""
        optional = NoneType in get_args(annotation)
        [array_type] = (
            [choice for choice in get_args(annotation) if choice is not NoneType]
            if optional
            else [annotation]
        )
        dtype = _dtype(array_type)
        kind = "" if dtype is _ANY_DTYPE else f"{np.dtype(dtype).name} "
        message = f"{self._kernel_name}: {parameter} must be a C-contiguous, aligned {kind}array"
        if not optional:
            self._check_array(item, dtype, message)
            return self.load(item, _DATA, _WORD)
        is_none = self._builder.icmp_unsigned("==", item, self._address_of(NONE))
        with self._builder.if_else(is_none) as (no_array, array):
            with no_array:
                no_array_block = self._builder.block
            with array:
                self._check_array(item, dtype, f"{message} or None")
                data = self.load(item, _DATA, _WORD)
                array_block = self._builder.block
        address = self._builder.phi(_WORD)
        address.add_incoming(_WORD(0), no_array_block)
        address.add_incoming(data, array_block)
        return address

    def _check_array(self, item: Any, dtype: Any, message: str) -> None:
        builder = self._builder
        type_ = self.load(item, OBJECT_HEAD_BYTES - 8, _WORD)
        is_array = self.call("PyType_IsSubtype", _INT32, type_, self._address_of(ARRAY_TYPE))
        self.refuse_if(builder.icmp_unsigned("==", is_array, _INT32(0)), message)
        wanted = _INT32(_C_CONTIGUOUS | _ALIGNED)
        flags = builder.and_(self.load(item, _FLAGS, _INT32), wanted)
        wrong = builder.icmp_unsigned("!=", flags, wanted)
        if dtype is not _ANY_DTYPE:
            description = self.load(item, _DESCRIPTION, _WORD)
            type_number = self.load(description, _TYPE_NUMBER, _INT32)
            right = ir.Constant(ir.IntType(1), 0)
            for number in _type_numbers(dtype):
                right = builder.or_(right, builder.icmp_unsigned("==", type_number, _INT32(number)))
            swapped = builder.icmp_unsigned("==", self.load(description, _BYTE_ORDER, _BYTE), _BYTE(_SWAPPED))
            wrong = builder.or_(wrong, builder.or_(builder.not_(right), swapped))
        self.refuse_if(wrong, message)

    def refuse_if(self, condition: Any, message: str) -> None:
        """Raise TypeError in Python."""
        with self._builder.if_then(condition, likely=False):
            text = self._context.insert_const_string(self._module, message)
            text = self._builder.ptrtoint(text, _WORD)
            self.call("PyErr_SetString", ir.VoidType(), self._address_of(TYPE_ERROR), text)
            self._builder.ret(_WORD(0))

    def python_object(self, result: Any, type_: Any) -> Any:
        """A new reference to the result of the kernel."""
        if type_ is types.none:
            none = self._address_of(NONE)
            self.call("Py_IncRef", ir.VoidType(), none)
            return none
        return self.call(
            "PyFloat_FromDouble" if type_ is types.float64 else "PyLong_FromLongLong", _WORD, result
        )

    def load(self, address: Any, place: int, type_: Any) -> Any:
        at = self._builder.add(address, _WORD(place))
        return self._builder.load(self._builder.inttoptr(at, type_.as_pointer()))

    def call(self, name: str, returned: Any, *arguments: Any) -> Any:
        function = self._module.globals.get(name)
        if function is None:
            signature = ir.FunctionType(returned, [argument.type for argument in arguments])
            function = ir.Function(self._module, signature, name)
        return self._builder.call(function, arguments)

    def _address_of(self, name: str) -> Any:
        """The address of a Python object, which the loader gives a name."""
        symbol = self._module.globals.get(name) or ir.GlobalVariable(self._module, _BYTE, name)
        return self._builder.ptrtoint(symbol, _WORD)


def _dtype(array_type: Any) -> Any:
    """The scalar type of NDArray[scalar]."""
    if get_origin(array_type) is not np.ndarray:
        raise TypeError(f"a kernel takes no argument of type {array_type}")
    [scalar] = get_args(get_args(array_type)[1])
    return _ANY_DTYPE if scalar is Any else scalar


def _type_numbers(dtype: Any) -> list[int]:
    """NumPy's numbers of the types that are this dtype: an int64 may be a long or a long long."""
    return [
        np.dtype(code).num for code in np.typecodes["All"] if code not in "SUVMmO" and np.dtype(code) == dtype
    ]
