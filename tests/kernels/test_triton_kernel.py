"""The Triton kernel in Triton's interpreter, on the CPU, against the reference: equal to the bit.

A job of its own, `make test-system`, because torch's CPU builds come without Triton.
"""

import importlib
from collections.abc import Iterator

import numpy as np
import pytest

from colsearch_kernels import reference, torch_backend
from colsearch_kernels.codes import PLANE_BITS
from colsearch_kernels.torch_backend import DeviceCodes
from tests.kernels.test_torch_backend import make

pytestmark = pytest.mark.system


@pytest.fixture(scope="module", autouse=True)
def interpreter() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # Read when a kernel is decorated, so before `triton_kernel` is imported.
        patch.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("triton")
        yield


@pytest.mark.parametrize("plane_bits", PLANE_BITS)
@pytest.mark.parametrize("dim", [7, 128])
def test_fused_scores_equal_the_reference(dim: int, plane_bits: tuple[int, ...]) -> None:
    codes, query = make(dim, plane_bits)
    on_device = DeviceCodes.copy_of(codes, "cpu")
    for n_planes in range(1, len(plane_bits) + 1):
        expected = reference.score_codes(query, codes, n_planes=n_planes)
        found = torch_backend.score_codes(query, on_device, n_planes=n_planes, fused=True)
        np.testing.assert_array_equal(found, expected)


def test_fused_scores_of_chosen_documents_and_more_query_tokens_than_a_tile() -> None:
    codes, query = make(384, (4, 4), n_query=70)
    ordinals = np.array([5, 1, 0, 5])
    expected = reference.score_codes(query, codes, ordinals=ordinals)
    found = torch_backend.score_codes(
        query, DeviceCodes.copy_of(codes, "cpu"), ordinals=ordinals, fused=True, memory_bytes=2000
    )
    np.testing.assert_array_equal(found, expected)


def test_no_documents_have_no_fused_scores() -> None:
    codes, query = make(8, (4,), [])
    assert torch_backend.score_codes(query, DeviceCodes.copy_of(codes, "cpu"), fused=True).shape == (0,)
