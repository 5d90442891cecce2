"""The torch path against the reference: equal to the bit over codes, whatever the chunks.

On the CPU, and on a GPU too where torch finds one.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from colsearch_kernels import reference
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.gpu import device_codes, torch_backend
from colsearch_kernels.gpu.device_codes import DeviceCodes
from colsearch_kernels.layout.codes import PLANE_BITS, QuantizedQuery
from tests.support.codes import DOCLENS, encode_random

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("memory_bytes", [1, 40_000, 1 << 28])
@pytest.mark.parametrize("plane_bits", PLANE_BITS)
@pytest.mark.parametrize("dim", [7, 128])
def test_scores_over_codes_equal_the_reference(
    dim: int, plane_bits: tuple[int, ...], memory_bytes: int, device: str
) -> None:
    codes, query = encode_random(dim, plane_bits)
    on_device = DeviceCodes.copy_of(codes, device)
    for n_planes in range(1, len(plane_bits) + 1):
        expected = reference.score_codes(query, codes, n_planes=n_planes)
        found = torch_backend.score_codes(query, on_device, n_planes=n_planes, memory_bytes=memory_bytes)
        np.testing.assert_array_equal(found, expected)
        assert (expected[np.isfinite(expected)] < 0).any()


def test_dims_beyond_what_float32_counts_exactly_equal_the_reference(device: str) -> None:
    codes, query = encode_random(2100, (8,), [3, 2])
    # Largest code against largest query: sums of more than 2**24, which float32 could not add up.
    codes.planes[0][:] = 255
    query = QuantizedQuery(np.full_like(query.values, 63), query.scales)
    query.values[:, ::7] = 62
    expected = reference.score_codes(query, codes)
    found = torch_backend.score_codes(query, DeviceCodes.copy_of(codes, device))
    np.testing.assert_array_equal(found, expected)


def test_chosen_documents_and_many_queries_equal_the_reference(device: str) -> None:
    codes, query = encode_random(48, (4, 4))
    _, other = encode_random(48, (4, 4), n_query=70, seed=1)
    ordinals = np.array([5, 1, 0, 5, 3])
    on_device = DeviceCodes.copy_of(codes, device)
    expected = reference.score_codes_batch([query, other], codes, ordinals=ordinals, n_planes=1)
    found = torch_backend.score_codes_batch([query, other], on_device, ordinals=ordinals, n_planes=1)
    np.testing.assert_array_equal(found, expected)


def test_top_k_equals_the_reference_with_ties_and_dead_documents(device: str) -> None:
    codes, query = encode_random(16, (2,), [3] * 12)
    codes.planes[0][9:12] = codes.planes[0][3:6]
    codes.widths[0][9:12] = codes.widths[0][3:6]
    live = np.ones(12, bool)
    live[5] = False
    on_device = DeviceCodes.copy_of(codes, device)
    for k in (0, 1, 4, 100):
        expected = reference.top_k(query, codes, k, live=live)
        found = torch_backend.top_k(query, on_device, k, live=live)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_of_many_equal_scores_the_lower_ordinals_are_taken(device: str) -> None:
    codes, query = encode_random(16, (4,), [2] * 600)
    # Three documents again and again, in any order: torch takes any of the equal ones.
    which = np.random.default_rng(0).integers(0, 3, 600)
    rows = (2 * which[:, None] + np.arange(2)).ravel()
    for array in (*codes.planes, *codes.widths):
        array[:] = array[rows]
    on_device = DeviceCodes.copy_of(codes, device)
    for live in (None, np.arange(600) % 3 > 0):
        for k in (8, 100, 250):
            expected = reference.top_k(query, codes, k, live=live)
            found = torch_backend.top_k(query, on_device, k, live=live)
            np.testing.assert_array_equal(found[0], expected[0])


def test_a_query_token_of_scale_zero_leaves_empty_documents_without_a_score(device: str) -> None:
    codes, query = encode_random(16, (4,))
    query = QuantizedQuery(query.values, np.zeros_like(query.scales))
    found = torch_backend.score_codes(query, DeviceCodes.copy_of(codes, device))
    np.testing.assert_array_equal(found, np.where(np.array(DOCLENS) > 0, 0, -np.inf))


@pytest.mark.parametrize("memory_bytes", [1, 5000, 1 << 28])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_float_maxsim_equals_the_reference(dtype: torch.dtype, memory_bytes: int, device: str) -> None:
    rng = np.random.default_rng(2)
    doclens = np.array(DOCLENS)
    vectors = torch.from_numpy(rng.standard_normal((doclens.sum(), 24))).to(dtype)
    query = torch.from_numpy(rng.standard_normal((3, 24)) - 1).to(dtype)
    expected = reference.maxsim(query.double().numpy(), vectors.double().numpy(), doclens)
    found = torch_backend.maxsim(query, vectors, doclens, memory_bytes=memory_bytes, device=device)
    # bfloat16 rounds each of the three maxima to 8 bits.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0.2 if dtype == torch.bfloat16 else 1e-5)


def test_read_only_codes_are_copied_without_a_warning(recwarn: pytest.WarningsRecorder, device: str) -> None:
    codes, query = encode_random(8, (1,))
    for array in (*codes.planes, *codes.widths, codes.offsets):
        array.setflags(write=False)
    expected = reference.score_codes(query, codes)
    np.testing.assert_array_equal(
        torch_backend.score_codes(query, DeviceCodes.copy_of(codes, device)), expected
    )
    assert not recwarn.list


def test_no_documents_have_no_scores(device: str) -> None:
    codes, query = encode_random(8, (4,), [])
    assert torch_backend.score_codes(query, DeviceCodes.copy_of(codes, device)).shape == (0,)


@pytest.mark.parametrize("ordinals", [np.array([0, 8]), np.array([-1]), np.array([0.0]), np.array([[0]])])
def test_ordinals_that_do_not_fit_are_refused(ordinals: np.ndarray, device: str) -> None:
    codes, query = encode_random(8, (4,))
    with pytest.raises(KernelInputError, match="ordinals"):
        torch_backend.score_codes(query, DeviceCodes.copy_of(codes, device), ordinals=ordinals)


def test_a_query_of_another_dim_is_refused(device: str) -> None:
    codes, _ = encode_random(8, (4,))
    _, query = encode_random(16, (4,))
    with pytest.raises(KernelInputError, match="16 padded dims"):
        torch_backend.score_codes(query, DeviceCodes.copy_of(codes, device))


@pytest.mark.parametrize(
    ("query", "doclens", "message"),
    [
        (np.ones((2, 5), np.float32), [3], "do not fit"),
        (np.ones((2, 4)), [3], "one float type"),
        (np.ones((2, 4), np.float32), [2], "sum to 2"),
        (np.ones((2, 4), np.float32), [4, -1], "negative"),
    ],
)
def test_float_arrays_that_do_not_fit_are_refused(
    query: np.ndarray, doclens: list[int], message: str
) -> None:
    with pytest.raises(KernelInputError, match=message):
        torch_backend.maxsim(query, np.ones((3, 4), np.float32), np.array(doclens))


def test_more_dims_than_the_fused_kernel_takes_are_refused() -> None:
    codes, query = encode_random(1100, (1,), [2])
    with pytest.raises(KernelInputError, match="1024 dims"):
        torch_backend.score_codes(query, DeviceCodes.copy_of(codes, "cpu"), fused=True)


def test_large_arrays_are_copied_in_portions(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_codes, "_PORTION_BYTES", 100)
    codes, _ = encode_random(64, (4, 4))
    copy = DeviceCodes.copy_of(codes, device)
    for plane, copied in zip(codes.planes, copy.planes):
        np.testing.assert_array_equal(copied.cpu().numpy(), plane)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_give_no_score(bad: float, device: str) -> None:
    rng = np.random.default_rng(1)
    query, vectors = rng.standard_normal((3, 8), np.float32), rng.standard_normal((9, 8), np.float32)
    doclens = np.array([4, 0, 5])
    for row in (4, 8):
        broken = vectors.copy()
        broken[row, 2] = bad
        with pytest.raises(KernelInputError, match="document 2 and 0 more hold NaN"):
            torch_backend.maxsim(query, broken, doclens, device=device)
    query[1, 0] = bad
    with pytest.raises(KernelInputError, match="the query holds NaN"):
        torch_backend.maxsim(query, vectors, doclens, device=device)


def test_codes_with_widths_that_are_not_finite_are_not_copied(device: str) -> None:
    codes, _ = encode_random(8, (4,))
    codes.widths[0][5] = 0x7E00
    with pytest.raises(KernelInputError, match="token 5 has nan"):
        DeviceCodes.copy_of(codes, device)


def test_torch_is_loaded_only_with_its_backend() -> None:
    script = "import sys, colsearch_kernels.layout.quantize; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
