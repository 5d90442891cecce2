"""The error of this package, which imports nothing of colsearch."""


class KernelInputError(ValueError):
    """An argument that a kernel cannot take: of a wrong dtype, shape, memory layout or value, or out of range."""
