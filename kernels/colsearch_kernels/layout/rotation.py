"""A fixed rotation, after which all coordinates of a vector look alike.

Rounds of sign flips and Walsh-Hadamard transforms (Ailon & Chazelle 2009). These transforms exist for powers of two
only. For another number of dims they act on its largest power of two, alternately on the first and on the last
coordinates, and a butterfly of the two halves mixes the rest (the "Kac walk" of Gao et al. 2025, extended RaBitQ).

Strict IEEE arithmetic in a fixed order, one token per SIMD lane: a vector is rotated to the same bits alone, in any
batch and on any CPU. BLAS would not guarantee that.
"""

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.arguments import F32, MAX_PADDED_DIM, Rotation
from colsearch_kernels.checks import checked_vectors
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import checked_plane_bits, padded_dim
from colsearch_kernels.layout.packing import aligned_block
from colsearch_kernels.runtime.kernel import kernel
from colsearch_kernels.runtime.tiers import VECTOR_BYTES

if TYPE_CHECKING:
    from colsearch_kernels.compiled.rotation import rotate_back_tiles, rotate_tiles
else:
    rotate_tiles = kernel("rotation.rotate_tiles", globals())
    rotate_back_tiles = kernel("rotation.rotate_back_tiles", globals())


@lru_cache(maxsize=32)
def rotation_for(dim: int, plane_bits: tuple[int, ...], seed: int) -> Rotation:
    """The rotation of vectors of `dim` numbers that are stored in these planes."""
    return rotation(padded_dim(dim, checked_plane_bits(plane_bits)), seed)


@lru_cache(maxsize=32)
def rotation(n_dims: int, seed: int) -> Rotation:
    """The rotation of this seed; the same on every machine and in every release of format 1."""
    if n_dims % 4 or not 4 <= n_dims <= MAX_PADDED_DIM:
        raise KernelInputError(f"a rotation needs a multiple of 4 dims up to {MAX_PADDED_DIM}, not {n_dims}")
    block = 1 << (n_dims.bit_length() - 1)
    n_rounds = 3 if block == n_dims else 4
    multipliers = np.where(_random_bits(n_rounds * n_dims, seed), np.float32(1), np.float32(-1))
    multipliers = multipliers.reshape(n_rounds, n_dims)
    scale = np.ones((2, n_dims))
    scale[0, :block] = scale[1, n_dims - block :] = 1 / math.sqrt(block)
    if block < n_dims:
        scale /= math.sqrt(2)
    for i in range(n_rounds):
        multipliers[i] *= scale[i % 2].astype(np.float32)
    multipliers.setflags(write=False)
    return Rotation(multipliers, n_rounds, n_dims, block)


def _random_bits(n: int, seed: int) -> NDArray[np.bool_]:
    """(n,) top bits of splitmix64: NumPy's generators may change between releases, codes on disk may not."""
    with np.errstate(over="ignore"):
        state = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        state += np.uint64(seed % 2**64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    bits: NDArray[np.bool_] = (state >> np.uint64(63)).astype(np.bool_)
    return bits


def rotate(vectors: F32, plane_bits: tuple[int, ...], seed: int) -> F32:
    """(n, dim) float32 -> (n, padded_dim) float32, zero-padded and rotated."""
    vectors = checked_vectors(vectors)
    n, dim = vectors.shape
    transform = rotation_for(dim, plane_bits, seed)
    rotated = np.empty((n, transform.n_dims), np.float32)
    rotate_tiles(vectors, n, dim, transform, aligned_block(tile_bytes(transform.n_dims)), rotated)
    return rotated


def rotate_back(rotated: F32, dim: int, seed: int) -> F32:
    """Inverse of `rotate`: (n, padded_dim) float32 -> (n, dim) float32."""
    rotated = checked_vectors(rotated)
    n, n_dims = rotated.shape
    vectors = np.empty((n, dim), np.float32)
    rotate_back_tiles(rotated, n, rotation(n_dims, seed), aligned_block(tile_bytes(n_dims)), vectors, dim)
    return vectors


def tile_bytes(n_dims: int) -> int:
    """Bytes of LANES tokens side by side, in float32."""
    return VECTOR_BYTES * n_dims
