"""The Triton kernels against the reference, to the bit over codes: on a GPU, or in Triton's interpreter on the CPU.

A job of its own, `make test-system`, because torch's CPU builds come without Triton.
"""

import importlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from colsearch_kernels import reference
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.gpu import torch_backend
from colsearch_kernels.gpu.device_codes import DeviceCodes
from colsearch_kernels.layout.codes import PLANE_BITS
from tests.support.codes import DOCLENS, encode_random

pytestmark = pytest.mark.system
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter multiplies the bits of bfloat16 as if they were integers.
FLOATS = [torch.float32, torch.float16, *([torch.bfloat16] if DEVICE == "cuda" else [])]


@pytest.fixture(scope="module", autouse=True)
def interpreter() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            # Read when a kernel is decorated, so before `triton_kernel` is imported.
            patch.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("triton")
        yield


@pytest.mark.parametrize("plane_bits", PLANE_BITS)
@pytest.mark.parametrize("dim", [7, 128])
def test_fused_scores_equal_the_reference(dim: int, plane_bits: tuple[int, ...]) -> None:
    codes, query = encode_random(dim, plane_bits)
    on_device = DeviceCodes.copy_of(codes, DEVICE)
    for n_planes in range(1, len(plane_bits) + 1):
        expected = reference.score_codes(query, codes, n_planes=n_planes)
        found = torch_backend.score_codes(query, on_device, n_planes=n_planes, fused=True)
        np.testing.assert_array_equal(found, expected)


def test_fused_scores_of_chosen_documents_and_more_query_tokens_than_a_tile() -> None:
    codes, query = encode_random(384, (4, 4), n_query=70)
    ordinals = np.array([5, 1, 0, 5])
    expected = reference.score_codes(query, codes, ordinals=ordinals)
    found = torch_backend.score_codes(
        query, DeviceCodes.copy_of(codes, DEVICE), ordinals=ordinals, fused=True, memory_bytes=2000
    )
    np.testing.assert_array_equal(found, expected)


def test_no_documents_have_no_fused_scores() -> None:
    codes, query = encode_random(8, (4,), [])
    assert torch_backend.score_codes(query, DeviceCodes.copy_of(codes, DEVICE), fused=True).shape == (0,)


def test_fused_top_k_of_several_queries_equals_the_reference() -> None:
    codes, query = encode_random(48, (4, 4), [3, 0, 5, 3, 40])
    _, other = encode_random(48, (4, 4), [3, 0, 5, 3, 40], n_query=21, seed=1)
    live = np.array([True, True, False, True, True])
    found = torch_backend.top_k_batch(
        [query, other], DeviceCodes.copy_of(codes, DEVICE), 3, live=live, fused=True
    )
    for one, (ordinals, scores) in zip([query, other], found):
        expected = reference.top_k(one, codes, 3, live=live)
        np.testing.assert_array_equal(ordinals, expected[0])
        np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("n_query", [1, 5, 70])
@pytest.mark.parametrize("dim", [24, 128])
@pytest.mark.parametrize("dtype", FLOATS)
def test_fused_maxsim_of_floats_equals_the_reference(dtype: torch.dtype, dim: int, n_query: int) -> None:
    rng = np.random.default_rng(2)
    doclens = np.array(DOCLENS)
    vectors = torch.from_numpy(rng.standard_normal((doclens.sum(), dim)) + 1).to(dtype)
    query = torch.from_numpy(rng.standard_normal((n_query, dim)) - 0.5).to(dtype)
    expected = reference.maxsim(query.double().numpy(), vectors.double().numpy(), doclens)
    found = torch_backend.maxsim(query, vectors, doclens, device=DEVICE, memory_bytes=4000, fused=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (expected[np.isfinite(expected)] < 0).any()


def test_no_documents_have_no_fused_maxsim() -> None:
    query, nothing = np.ones((2, 8), np.float32), np.empty((0, 8), np.float32)
    for doclens in (np.empty(0, np.int64), np.zeros(3, np.int64)):
        found = torch_backend.maxsim(query, nothing, doclens, device=DEVICE, fused=True)
        np.testing.assert_array_equal(found, np.full(len(doclens), -np.inf))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_give_no_fused_score(bad: float) -> None:
    rng = np.random.default_rng(1)
    query, vectors = rng.standard_normal((3, 8), np.float32), rng.standard_normal((45, 8), np.float32)
    for row in (3, 20, 44):
        broken = vectors.copy()
        broken[row, 2] = bad
        with pytest.raises(KernelInputError, match=f"document {int(row > 3)} and 0 more hold NaN"):
            torch_backend.maxsim(query, broken, np.array([4, 41]), device=DEVICE, fused=True)
