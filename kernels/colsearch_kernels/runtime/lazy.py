"""Values that are computed when they are first asked for."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class lazy(Generic[T]):
    """`functools.cached_property` without a lock; two threads may therefore both compute the value.

    Before Python 3.12, `cached_property` holds a lock that all instances share: threads wait for each other, and a child
    that is forked while the lock is held waits for ever.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        # From now on Python finds the value in the instance, before it looks at the class.
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
