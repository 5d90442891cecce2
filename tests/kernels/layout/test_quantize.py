"""Rotation and grid: orthogonal, unbiased, and the same bits alone, in any batch and in every release."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colsearch_kernels import reference
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout import quantize, rotation
from colsearch_kernels.layout.codes import PLANE_BITS, Codes, padded_dim
from tests.support.codes import code_digest

dims = st.integers(1, 400)
plane_sets = st.sampled_from(PLANE_BITS)
seeds = st.integers(0, 2**63 - 1)


def random_vectors(seed: int, n: int, dim: int) -> np.ndarray:
    # Normal vectors with their first coordinates blown up: the case that the rotation is for.
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    vectors[:, : max(1, dim // 16)] *= 8
    return vectors


@settings(max_examples=40, deadline=None)
@given(dim=dims, plane_bits=plane_sets, seed=seeds)
def test_the_rotation_keeps_dot_products_and_can_be_undone(
    dim: int, plane_bits: tuple[int, ...], seed: int
) -> None:
    vectors = random_vectors(seed, 17, dim)
    rotated = rotation.rotate(vectors, plane_bits, seed)
    scale = float(np.square(vectors).sum(axis=1).max())
    exact = vectors.astype(np.float64)
    np.testing.assert_allclose(rotated.astype(np.float64) @ rotated.T, exact @ exact.T, atol=3e-6 * scale)
    np.testing.assert_allclose(rotation.rotate_back(rotated, dim, seed), vectors, atol=3e-6 * np.sqrt(scale))


@pytest.mark.parametrize("dim", [48, 60, 64, 96, 120, 124, 128, 192, 252, 256, 384])
def test_the_rotation_spreads_any_single_coordinate(dim: int) -> None:
    rotated = rotation.rotate(np.eye(dim, dtype=np.float32), (4, 4), 7)
    # A uniformly random direction has its largest coordinate at about sqrt(2 ln(dim) / dim).
    assert np.abs(rotated).max(axis=1).mean() < 1.6 * np.sqrt(2 * np.log(dim) / dim)
    # For numbers that are no power of two no coordinate may stay where it was.
    assert np.abs(rotated).max() < 0.85


@settings(max_examples=40, deadline=None)
@given(dim=dims, plane_bits=plane_sets, n=st.integers(1, 40), data=st.data())
def test_a_vector_has_the_same_code_alone_and_in_any_batch(
    dim: int, plane_bits: tuple[int, ...], n: int, data: st.DataObject
) -> None:
    vectors = random_vectors(dim, n, dim)
    row = data.draw(st.integers(0, n - 1))
    planes, widths = quantize.encode(vectors, plane_bits, 3)
    alone_planes, alone_widths = quantize.encode(vectors[row : row + 1], plane_bits, 3)
    for batch, alone in zip(planes + widths, alone_planes + alone_widths):
        np.testing.assert_array_equal(batch[row : row + 1], alone)


@settings(max_examples=40, deadline=None)
@given(dim=dims, plane_bits=plane_sets, seed=seeds)
def test_the_width_makes_the_decoded_vector_unbiased(
    dim: int, plane_bits: tuple[int, ...], seed: int
) -> None:
    vectors = random_vectors(seed, 5, dim)
    planes, widths = quantize.encode(vectors, plane_bits, seed)
    for n_planes in range(1, len(plane_bits) + 1):
        rotated = rotation.rotate(vectors, plane_bits, seed).astype(np.float64)
        decoded = reference.decode_rows(planes, widths, plane_bits, n_planes)
        # float16 keeps the width to one part in 2048.
        np.testing.assert_allclose((decoded * rotated).sum(axis=1), np.square(rotated).sum(axis=1), rtol=6e-4)


@pytest.mark.parametrize("plane_bits", PLANE_BITS)
@pytest.mark.parametrize("dim", [5, 48, 128, 384])
def test_codes_equal_the_grid_written_in_numpy(plane_bits: tuple[int, ...], dim: int) -> None:
    vectors = random_vectors(dim, 33, dim)
    rotated = rotation.rotate(vectors, plane_bits, 11)
    n_bits = sum(plane_bits)
    span, rms = quantize._GRID_WIDTH[plane_bits]
    root_mean_square = np.sqrt(np.square(rotated).mean(axis=1))
    width = np.minimum(span * np.abs(rotated).max(axis=1), rms * root_mean_square)
    cells = np.floor(rotated / width[:, None] * 2**n_bits) + 2 ** (n_bits - 1)
    expected = np.clip(cells, 0, 2**n_bits - 1).astype(np.int64)
    planes, _ = quantize.encode(vectors, plane_bits, 11)
    found = reference.unpack(planes, plane_bits)[0].astype(np.int64)
    # A coordinate on the border of two cells may fall to either side: NumPy adds in another order.
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.002


PINNED = "d47cdca66544a0a1"


def test_codes_are_the_same_in_every_release() -> None:
    # Indexes on disk hold these codes: if this fails, a migration is due, not a new constant.
    assert code_digest() == PINNED


def test_codes_are_the_same_without_this_cpus_instructions(tmp_path: object) -> None:
    script = "from tests.support.codes import code_digest; print(code_digest())"
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "COLSEARCH_KERNEL_CACHE": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == PINNED


def test_rows_that_cannot_be_coded_show_in_their_width() -> None:
    vectors = np.ones((5, 8), np.float32)
    vectors[0, 3], vectors[1, 3], vectors[2], vectors[3] = np.nan, np.inf, 0, 1e30
    _, widths = quantize.encode(vectors, (4, 4), 1)
    for width in widths:
        found = width.view(np.float16)
        assert not np.isfinite(found[[0, 1, 3]]).any() and found[2] == 0 and np.isfinite(found[4])


def test_no_vectors_make_no_codes() -> None:
    planes, widths = quantize.encode(np.empty((0, 20), np.float32), (2, 6), 1)
    n_dims = padded_dim(20, (2, 6))
    Codes(20, (2, 6), planes, widths, np.zeros(1, np.int64))
    assert quantize.decode(planes, widths, (2, 6), dim=20, seed=1).shape == (0, 20) and n_dims == 32


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((2, 4)), "float32"),
        (np.ones(4, np.float32), "2-d"),
        (np.ones((2, 0), np.float32), "dim must be"),
        ([[1.0]], "float32"),
    ],
)
def test_vectors_of_the_wrong_kind_are_refused(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(KernelInputError, match=message):
        quantize.encode(vectors, (4,), 1)


def test_a_query_with_nan_is_refused() -> None:
    with pytest.raises(KernelInputError, match="NaN"):
        quantize.quantize_query(np.full((1, 4), np.nan, np.float32), (4,), 1)
