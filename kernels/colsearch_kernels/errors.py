"""The errors of this package; it imports nothing of colsearch, so they live here."""


class KernelInputError(ValueError):
    """Arrays that a kernel must not see: wrong dtype, shape, layout, values, or ordinals out of range."""
