"""Values that are computed when they are first asked for."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class lazy(Generic[T]):
    """`functools.cached_property` without a lock.

    Until Python 3.12 that one holds a lock which all instances share: threads wait for each other, and a
    child that is forked while one of them holds it waits for ever. Two threads may compute the value twice.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        # Found in the instance from now on, which goes before the class.
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
