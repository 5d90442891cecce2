"""A fixed rotation, after which all coordinates of a vector look alike.

Rounds of sign flips and Walsh-Hadamard transforms (Ailon & Chazelle 2009). They exist for
powers of two only, so for another number of dims they act on the largest power of two of them, alternately
the first and the last, and a butterfly of the two halves mixes the rest (the "Kac walk" of Gao et al. 2025,
extended RaBitQ).

Strict IEEE arithmetic in a fixed order, one token per SIMD lane, so a vector is turned alike alone, in any batch
and on any CPU. BLAS would not give that.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import F32, MAX_PADDED_DIM, address, checked_plane_bits, padded_dim
from colsearch_kernels.layout.packing import aligned_block
from colsearch_kernels.runtime.lazy import lazy
from colsearch_kernels.runtime.native import Kernel
from colsearch_kernels.runtime.tiers import LANES

_rotate_tiles, _rotate_back_tiles = Kernel("rotation.rotate_tiles"), Kernel("rotation.rotate_back_tiles")


@dataclass(frozen=True, eq=False)
class Rotation:
    """One orthogonal transform of `padded_dim` coordinates, given by its seed.

    Attributes:
        multipliers: (n_rounds, padded_dim) float32, the random signs times what makes each round orthogonal.
        block: the power of two that the transforms act on.
    """

    multipliers: F32
    block: int

    @lazy
    def n_dims(self) -> int:
        return int(self.multipliers.shape[1])

    @lazy
    def arguments(self) -> tuple[int, int, int, int]:
        """As kernels take it: address of the multipliers, rounds, dims, block."""
        return address(self.multipliers), *self.multipliers.shape, self.block


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
    return Rotation(multipliers, block)


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
    turn = rotation_for(vectors.shape[1], plane_bits, seed)
    rotated = np.empty((len(vectors), turn.n_dims), np.float32)
    _memory, tile = aligned_block(tile_bytes(turn.n_dims))
    _rotate_tiles(address(vectors), *vectors.shape, *turn.arguments, tile, address(rotated))
    return rotated


def rotate_back(rotated: F32, dim: int, seed: int) -> F32:
    """Inverse of `rotate`: (n, padded_dim) float32 -> (n, dim) float32."""
    rotated = checked_vectors(rotated)
    turn = rotation(rotated.shape[1], seed)
    vectors = np.empty((len(rotated), dim), np.float32)
    _memory, tile = aligned_block(tile_bytes(turn.n_dims))
    _rotate_back_tiles(address(rotated), len(rotated), *turn.arguments, tile, address(vectors), dim)
    return vectors


def tile_bytes(n_dims: int) -> int:
    """Of LANES tokens side by side."""
    return 4 * LANES * n_dims


def checked_vectors(vectors: F32) -> F32:
    """The vectors in memory that a kernel can read.

    Raises: KernelInputError: unless they are 2-d float32, of a number of dims that codes may have.
    """
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
        found = f"{vectors.ndim}-d {vectors.dtype.str}" if isinstance(vectors, np.ndarray) else type(vectors)
        raise KernelInputError(f"vectors: need a 2-d float32 array, found {found}")
    if not 1 <= vectors.shape[1] <= MAX_PADDED_DIM:
        raise KernelInputError(f"vectors: dim must be 1..{MAX_PADDED_DIM}, not {vectors.shape[1]}")
    if vectors.flags.c_contiguous and vectors.flags.aligned:
        return vectors
    return np.require(vectors, requirements=["C", "A"])
