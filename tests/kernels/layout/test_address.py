"""Where an array's memory is, read without asking NumPy."""

from pathlib import Path

import numpy as np
import pytest

from colsearch_kernels.layout.packing import address

ARRAY = np.arange(24, dtype=np.float32).reshape(4, 6)


def read_only() -> np.ndarray:
    array = ARRAY.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "array",
    [
        ARRAY,
        ARRAY[2:],
        ARRAY[:, 3:],
        ARRAY.T,
        ARRAY[::-1],
        ARRAY[:0],
        read_only(),
        np.zeros(()),
        ARRAY.view(np.uint8)[1:],
    ],
    ids=["whole", "rows", "columns", "transposed", "reversed", "empty", "read-only", "0-d", "bytes"],
)
def test_an_address_is_that_of_the_first_element(array: np.ndarray) -> None:
    assert address(array) == array.__array_interface__["data"][0]


def test_the_address_of_a_memory_map_is_that_of_the_map(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ARRAY)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert address(mapped) == mapped.__array_interface__["data"][0]
    assert address(mapped[1:]) == address(mapped) + mapped.strides[0]
