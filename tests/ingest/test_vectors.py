"""Arrays, lists and tensors all become float32 arrays, and nothing else does."""

from typing import Any

import numpy as np
import pytest
import torch

from colsearch.errors import ShapeError
from colsearch.ingest.vectors import as_float32

EXPECTED = np.array([[1.5, -2.0], [0.25, 3.0]], np.float32)


@pytest.mark.parametrize(
    "vectors",
    [
        EXPECTED.astype(np.float64),
        EXPECTED.astype(np.float16),
        EXPECTED.astype(">f4"),
        np.asfortranarray(EXPECTED),
        EXPECTED.tolist(),
        torch.tensor(EXPECTED, requires_grad=True),
        torch.tensor(EXPECTED, dtype=torch.bfloat16),
        torch.tensor(EXPECTED).t().contiguous().t(),
    ],
)
def test_numbers_of_any_kind_become_float32(vectors: Any) -> None:
    array = as_float32(vectors)
    assert array.dtype == np.float32 and array.flags.c_contiguous
    np.testing.assert_array_equal(array, EXPECTED)


def test_an_array_that_fits_is_not_copied_and_shapes_stay() -> None:
    assert as_float32(EXPECTED) is EXPECTED
    assert as_float32(np.arange(3)).shape == (3,)
    assert as_float32(2.5).shape == ()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0], [1.0, 2.0]], "ragged"),
        ([["a"]], "numbers, not <U1"),
        (np.ones(2, bool), "numbers, not bool"),
        (np.ones(2, np.complex64), "numbers, not complex64"),
        (np.array([None]), "numbers, not object"),
        (np.zeros(2, "V4"), r"numbers, not \|V4"),
        (np.zeros(2, [("x", "f4"), ("y", "f4")]), "numbers, not "),
    ],
)
def test_anything_else_is_refused(vectors: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        as_float32(vectors)
