"""The object files that kernels are kept as stand on their own, and their entries refuse what kernels cannot take."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from colsearch_kernels.arguments import F32, I64
from colsearch_kernels.compiled.compiler import machine_code, subroutine
from colsearch_kernels.compiled.emit import Address, read_f32, read_i64, write_f32
from colsearch_kernels.runtime import kernel


class Factors(NamedTuple):
    values: F32
    n: int
    scale: np.float32


class Group(NamedTuple):
    factors: Factors
    anything: NDArray[Any]


@subroutine
def _product(factors: Factors, i: int) -> np.float32:
    return factors.scale * read_f32(factors.values, i)


def running_sums(group: Group, more: I64 | None, start: float, out: F32) -> float:
    total = np.float32(0)
    added: Address = more
    for i in range(group.factors.n):
        total += _product(group.factors, i)
        if added:
            total += np.float32(read_i64(added, i))
        write_f32(out, i, total)
    return np.float64(total) + start


@pytest.fixture(scope="module")
def run() -> Any:
    return kernel._built_in("running_sums", kernel._entry_address(machine_code(running_sums)))


VALUES = np.arange(4, dtype=np.float32)
GROUP = Group(Factors(VALUES, 4, np.float32(2)), np.zeros(1, np.int8))


def test_arrays_numbers_none_and_groups_arrive(run: Any) -> None:
    out = np.empty(4, np.float32)
    assert run(GROUP, None, 0.5, out) == 12.5
    np.testing.assert_array_equal(out, [0, 2, 6, 12])
    assert run(GROUP, np.arange(4), 1, out) == 19
    np.testing.assert_array_equal(out, [0, 3, 9, 18])


class Subclass(np.ndarray):  # type: ignore[type-arg]
    """As memory maps are."""


def test_subclasses_and_numpy_numbers_are_taken(run: Any) -> None:
    factors = GROUP.factors._replace(values=VALUES.view(Subclass), n=np.int64(4), scale=2.0)
    assert run(GROUP._replace(factors=factors), None, np.float32(0.5), np.empty(4, np.float32)) == 12.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GROUP, None, 0.5), "running_sums takes 4 arguments"),
        ((GROUP, None, 0.5, VALUES, VALUES), "running_sums takes 4 arguments"),
        ((GROUP, VALUES, 0.5, VALUES), "more must be a C-contiguous, aligned int64 array or None"),
        ((GROUP, [1], 0.5, VALUES), "more must be a C-contiguous, aligned int64 array or None"),
        ((GROUP, None, "x", VALUES), "must be real number, not str"),
        ((GROUP, None, VALUES, VALUES), "only .* arrays can be converted"),
        ((GROUP, None, 0.5, VALUES[::2]), "out must be a C-contiguous, aligned float32 array"),
        ((GROUP, None, 0.5, VALUES.astype(np.float64)), "out must be a C-contiguous, aligned float32 array"),
        ((GROUP, None, 0.5, VALUES.astype(">f4")), "out must be a C-contiguous, aligned float32 array"),
        ((GROUP, None, 0.5, None), "out must be a C-contiguous, aligned float32 array"),
        ((GROUP, None, 0.5, 140737488355328), "out must be a C-contiguous, aligned float32 array"),
        ((GROUP.factors, None, 0.5, VALUES), "group must be a Group"),
        ((3, None, 0.5, VALUES), "group must be a Group"),
        ((GROUP._replace(factors=(1, 2)), None, 0.5, VALUES), "group.factors must be a Factors"),
        (
            (GROUP._replace(anything=5), None, 0.5, VALUES),
            "group.anything must be a C-contiguous, aligned array",
        ),
        (
            (GROUP._replace(factors=GROUP.factors._replace(n="4")), None, 0.5, VALUES),
            "'str' object cannot be interpreted as an integer",
        ),
    ],
)
def test_arguments_of_a_wrong_number_or_type_are_refused(
    run: Any, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        run(*arguments)


def test_a_call_that_only_numba_could_resolve_is_refused() -> None:
    def root(value: float) -> int:
        return int(np.sqrt(value))

    # Loaded without numba, it would end the process.
    with pytest.raises(TypeError, match="root calls sqrt, which only numba knows"):
        machine_code(root)


def test_a_kernel_returns_a_number_or_nothing() -> None:
    def half(value: np.float32) -> Any:
        return value * np.float32(0.5)

    with pytest.raises(TypeError, match="half returns float32, not an integer"):
        machine_code(half)


def test_a_parameter_of_another_type_is_refused() -> None:
    def same(text: str) -> Any:
        return text

    with pytest.raises(TypeError, match="no argument of type <class 'str'>"):
        machine_code(same)
