"""Token vectors to codes and back: a fixed rotation, a uniform grid per token, an unbiased width.

Everything here is strict IEEE arithmetic in a fixed order, one token per SIMD lane, so a vector gets the
same code alone, in any batch and on any CPU. BLAS would not give that.

The rotation is rounds of sign flips and Walsh-Hadamard transforms (Ailon & Chazelle 2009). They exist for
powers of two only, so for another number of dims they act on the largest power of two of them, alternately
the first and the last, and a butterfly of the two halves mixes the rest (the "Kac walk" of Gao et al. 2025,
extended RaBitQ). After it all coordinates of a vector look alike, so one grid per token serves them all.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from colsearch_kernels import reference
from colsearch_kernels.butterflies import butterfly, double_butterfly, scale_lanes
from colsearch_kernels.codes import (
    F32,
    I8,
    I64,
    MAX_PADDED_DIM,
    QUERY_MAX,
    U8,
    U16,
    QuantizedQuery,
    block_bits,
    checked_plane_bits,
    padded_dim,
)
from colsearch_kernels.emit import lay_into_lanes
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.jit import kernel

_LANES = 16
# Of one dim of a tile, all lanes.
_DIM_BYTES = 4 * _LANES
# A change of anything that changes codes needs a new number here and a migration of stored indexes.
CODE_VERSION = 1

# Width of the grid: the smaller of two multiples, of the largest |x| and of the root mean square of the
# rotated token. Measured on MiniLM token vectors. 4 bits: within 5 % of the error that a search per token for
# the best width leaves, at 96 to 384 dims. Nested planes share the grid: the whole span gives (4, 4) an overlap
# of the first 10 with float32 of .971 and .998 at 128 dims, where the best first plane, .972, would cost the
# second .006; (2, 6) trades .907 and .990, and two grids of their own would give .911 and .997.
_GRID_WIDTH = {
    (8,): (2.0, math.inf),
    (4,): (1.9, 5.8),
    (2,): (math.inf, 4.0),
    (1,): (2.0, math.inf),
    (4, 4): (2.0, math.inf),
    (2, 6): (1.8, 6.0),
}


@dataclass(frozen=True, eq=False)
class Rotation:
    """One orthogonal transform of `padded_dim` coordinates, given by its seed.

    Attributes:
        multipliers: (n_rounds, padded_dim) float32, the random signs times what makes each round orthogonal.
        block: the power of two that the transforms act on.
    """

    multipliers: F32
    block: int


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
    vectors = _checked_vectors(vectors)
    turn = rotation(padded_dim(vectors.shape[1], checked_plane_bits(plane_bits)), seed)
    rotated = np.empty((len(vectors), turn.multipliers.shape[1]), np.float32)
    _rotate_tiles(vectors, turn.multipliers, turn.block, rotated)
    return rotated


def rotate_back(rotated: F32, dim: int, seed: int) -> F32:
    """Inverse of `rotate`: (n, padded_dim) float32 -> (n, dim) float32."""
    rotated = _checked_vectors(rotated)
    turn = rotation(rotated.shape[1], seed)
    vectors = np.empty((len(rotated), dim), np.float32)
    _rotate_back_tiles(rotated, turn.multipliers, turn.block, vectors)
    return vectors


def encode(vectors: F32, plane_bits: tuple[int, ...], seed: int) -> tuple[tuple[U8, ...], tuple[U16, ...]]:
    """Codes of token vectors.

    Each width is set so that <decoded, x> = <x, x> (Gao & Long 2024, RaBitQ, section 3.2): dot products with
    the decoded vector are then unbiased, where the nearest grid point would shrink them.

    Args:
        vectors: (n_tokens, dim) float32.
    Returns: planes and widths as `Codes` holds them. A row with NaN or infinity gets a width that is not
        finite, a row of zeros the width 0: both are for the caller to refuse.
    """
    vectors = _checked_vectors(vectors)
    n_tokens = len(vectors)
    n_dims = padded_dim(vectors.shape[1], checked_plane_bits(plane_bits))
    turn = rotation(n_dims, seed)
    planes = tuple(np.empty((n_tokens, n_dims * bits // 8), np.uint8) for bits in plane_bits)
    second = planes[1] if len(planes) == 2 else np.empty((n_tokens, 0), np.uint8)
    widths = np.empty((len(plane_bits), n_tokens), np.float32)
    span_factor, rms_factor = _GRID_WIDTH[plane_bits]
    _encode_tiles(
        vectors,
        turn.multipliers,
        turn.block,
        np.cumsum(plane_bits),
        np.float32(span_factor),
        np.float32(rms_factor),
        _blocks(plane_bits, n_dims),
        planes[0],
        second,
        widths,
    )
    with np.errstate(over="ignore"):
        halves = widths.astype(np.float16).view(np.uint16)
    return planes, tuple(halves)


def decode(
    planes: tuple[U8, ...],
    widths: tuple[U16, ...],
    plane_bits: tuple[int, ...],
    *,
    dim: int,
    seed: int,
    n_planes: int | None = None,
) -> F32:
    """(n_tokens, dim) float32: the vectors that the first `n_planes` planes stand for, rotated back."""
    return rotate_back(reference.decode_rows(planes, widths, plane_bits, n_planes), dim, seed)


def quantize_query(query: F32, plane_bits: tuple[int, ...], seed: int) -> QuantizedQuery:
    """Rotate a query as the documents were and put each token on its 7-bit grid.

    Args:
        query: (n_query_tokens, dim) float32, finite.
    Raises: KernelInputError: also for NaN and infinity, which show in the scales.
    Oracle: reference.quantize_query of the rotated query, equal to the bit.
    """
    query = _checked_vectors(query)
    turn = rotation(padded_dim(query.shape[1], checked_plane_bits(plane_bits)), seed)
    values = np.empty((len(query), turn.multipliers.shape[1]), np.int8)
    scales = np.empty(len(query), np.float32)
    _query_tiles(query, turn.multipliers, turn.block, values, scales)
    if not np.isfinite(scales).all():
        raise KernelInputError("the query holds NaN or infinity, or numbers too large to rotate")
    return QuantizedQuery.made(values, scales)


def _checked_vectors(vectors: F32) -> F32:
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
        found = f"{vectors.ndim}-d {vectors.dtype.str}" if isinstance(vectors, np.ndarray) else type(vectors)
        raise KernelInputError(f"vectors: need a 2-d float32 array, found {found}")
    if not 1 <= vectors.shape[1] <= MAX_PADDED_DIM:
        raise KernelInputError(f"vectors: dim must be 1..{MAX_PADDED_DIM}, not {vectors.shape[1]}")
    return np.require(vectors, requirements=["C", "A"])


def _blocks(plane_bits: tuple[int, ...], n_dims: int) -> I64:
    """Rows of (plane, first byte, bits below it in the integer, bits) for each stored block."""
    blocks = []
    below = sum(plane_bits)
    for plane, bits in enumerate(plane_bits):
        first_byte = 0
        for block in block_bits(bits):
            below -= block
            blocks.append((plane, first_byte, below, block))
            first_byte += n_dims * block // 8
    return np.array(blocks, np.int64)


# Jitted helpers stand in this file because Numba's cache does not see edits elsewhere.


@kernel
def _load_tile(vectors: F32, first: int, tile: F32) -> None:
    """Rows first.. of (n, dim) into the lanes of (n_dims, _LANES), zeros around them."""
    n = min(_LANES, vectors.shape[0] - first)
    dim = min(vectors.shape[1], tile.shape[0])
    if n == _LANES:
        row_bytes = 4 * vectors.shape[1]
        lay_into_lanes(vectors.ctypes.data + first * row_bytes, row_bytes, dim, tile.ctypes.data, _DIM_BYTES)
        tile[dim:, :] = np.float32(0)
        return
    tile[:, :] = np.float32(0)
    for lane in range(n):
        for i in range(dim):
            tile[i, lane] = vectors[first + lane, i]


@kernel
def _store_tile(tile: F32, first: int, vectors: F32) -> None:
    n = min(_LANES, vectors.shape[0] - first)
    for lane in range(n):
        for i in range(vectors.shape[1]):
            vectors[first + lane, i] = tile[i, lane]


# A tile is read and written by its address, a dim's lanes at once: views of its rows would take longer than the
# arithmetic. Whoever makes a tile keeps it alive while it is worked on.


@njit(nogil=True, error_model="numpy")
def _butterflies(at, n, step):  # type: ignore[no-untyped-def]
    """(a, b) -> (a + b, a - b) for the pairs `step` apart among n dims from an address on."""
    for group in range(0, n, 2 * step):
        for i in range(group, group + step):
            butterfly(at + _DIM_BYTES * i, _DIM_BYTES * step)


@njit(nogil=True, error_model="numpy")
def _hadamard(at, block):  # type: ignore[no-untyped-def]
    """Butterflies of steps 1, 2, 4 and so on, two steps in one pass."""
    step = 1
    while 4 * step <= block:
        for group in range(0, block, 4 * step):
            for i in range(group, group + step):
                double_butterfly(at + _DIM_BYTES * i, _DIM_BYTES * step)
        step *= 4
    if step < block:
        _butterflies(at, block, step)


@njit(nogil=True, error_model="numpy")
def _scale_tile(at, multipliers):  # type: ignore[no-untyped-def]
    for i in range(multipliers.shape[0]):
        scale_lanes(at + _DIM_BYTES * i, multipliers[i])


@njit(nogil=True, error_model="numpy")
def _rotate_tile(tile, multipliers, block):  # type: ignore[no-untyped-def]
    at, n_dims = tile.ctypes.data, tile.shape[0]
    for i in range(multipliers.shape[0]):
        _scale_tile(at, multipliers[i])
        _hadamard(at + _DIM_BYTES * ((i % 2) * (n_dims - block)), block)
        if block < n_dims:
            _butterflies(at, n_dims, n_dims // 2)


@njit(nogil=True, error_model="numpy")
def _rotate_tile_back(tile, multipliers, block):  # type: ignore[no-untyped-def]
    """Each step is symmetric and orthogonal, so its own inverse: the same steps in reverse order."""
    at, n_dims = tile.ctypes.data, tile.shape[0]
    for i in range(multipliers.shape[0] - 1, -1, -1):
        if block < n_dims:
            _butterflies(at, n_dims, n_dims // 2)
        _hadamard(at + _DIM_BYTES * ((i % 2) * (n_dims - block)), block)
        _scale_tile(at, multipliers[i])


@kernel
def _rotate_tiles(vectors: F32, multipliers: F32, block: int, rotated: F32) -> None:
    tile = np.empty((multipliers.shape[1], _LANES), np.float32)
    for first in range(0, vectors.shape[0], _LANES):
        _load_tile(vectors, first, tile)
        _rotate_tile(tile, multipliers, block)
        _store_tile(tile, first, rotated)


@kernel
def _rotate_back_tiles(rotated: F32, multipliers: F32, block: int, vectors: F32) -> None:
    n_dims = multipliers.shape[1]
    tile = np.empty((n_dims, _LANES), np.float32)
    for first in range(0, rotated.shape[0], _LANES):
        _load_tile(rotated, first, tile)
        _rotate_tile_back(tile, multipliers, block)
        _store_tile(tile, first, vectors)


@kernel
def _query_tiles(vectors: F32, multipliers: F32, block: int, values: I8, scales: F32) -> None:
    """Rotated and put on the grid -63..63; the scale of a token that is not finite is NaN."""
    n_dims = multipliers.shape[1]
    tile = np.empty((n_dims, _LANES), np.float32)
    integers = np.empty((n_dims, _LANES), np.int8)
    largest, not_finite = np.empty(_LANES, np.float32), np.empty(_LANES, np.float32)
    divisors = np.empty(_LANES, np.float32)
    grid = np.float32(QUERY_MAX)
    for first in range(0, vectors.shape[0], _LANES):
        _load_tile(vectors, first, tile)
        _rotate_tile(tile, multipliers, block)
        largest[:] = np.float32(0)
        not_finite[:] = np.float32(0)
        for i in range(n_dims):
            row = tile[i]
            for lane in range(_LANES):
                # NaN loses every comparison, but x - x is 0 or NaN.
                largest[lane] = max(largest[lane], abs(row[lane]))
                not_finite[lane] += row[lane] - row[lane]
        for lane in range(_LANES):
            scale = largest[lane] / grid
            divisors[lane] = scale if scale > 0 else np.float32(np.inf)
            largest[lane] = scale + not_finite[lane]
        for i in range(n_dims):
            row, out = tile[i], integers[i]
            for lane in range(_LANES):
                out[lane] = np.int8(min(max(np.rint(row[lane] / divisors[lane]), -grid), grid))
        for lane in range(min(_LANES, vectors.shape[0] - first)):
            scales[first + lane] = largest[lane]
            for i in range(n_dims):
                values[first + lane, i] = integers[i, lane]


@kernel
def _grid_tile(
    tile: F32, n_bits: int, span_factor: np.float32, rms_factor: np.float32, integers: U8, squares: F32
) -> None:
    """Integers on each lane's grid, and each lane's sum of squares."""
    n_lanes = tile.shape[1]
    largest = np.zeros(_LANES, np.float32)
    squares[:] = np.float32(0)
    for i in range(tile.shape[0]):
        row = tile[i]
        for lane in range(n_lanes):
            x = row[lane]
            squares[lane] += x * x
            largest[lane] = max(largest[lane], abs(x))
    cells = np.float32(1 << n_bits)
    per_unit = np.zeros(_LANES, np.float32)
    for lane in range(n_lanes):
        rms = np.sqrt(squares[lane] / np.float32(tile.shape[0]))
        width = min(span_factor * largest[lane], rms_factor * rms)
        if width > np.float32(0):
            per_unit[lane] = cells / width
    half, top = np.float32(0.5) * cells, cells - np.float32(1)
    for i in range(tile.shape[0]):
        row, out = tile[i], integers[i]
        for lane in range(n_lanes):
            cell = np.floor(row[lane] * per_unit[lane]) + half
            out[lane] = np.uint8(np.int32(min(max(cell, np.float32(0)), top)))


@kernel
def _widths_tile(tile: F32, integers: U8, squares: F32, n_bits: int, prefix_bits: int, widths: F32) -> None:
    """Width of each lane's code of its first `prefix_bits` of `n_bits` bits."""
    n_lanes = tile.shape[1]
    products = np.zeros(_LANES, np.float32)
    shift = np.uint8(n_bits - prefix_bits)
    cells = np.float32(1 << prefix_bits)
    middle = np.float32(0.5) * (cells - np.float32(1))
    for i in range(tile.shape[0]):
        row, codes = tile[i], integers[i]
        for lane in range(n_lanes):
            products[lane] += (np.float32(codes[lane] >> shift) - middle) * row[lane]
    for lane in range(n_lanes):
        widths[lane] = np.float32(0)
        # Not `> 0`: the width of a row with NaN must be NaN.
        if products[lane] != np.float32(0):
            widths[lane] = cells * (squares[lane] / products[lane])


@kernel
def _pack_tile(integers: U8, shift: int, bits: int, packed: U8) -> None:
    """One block of the layout in codes.py, lanes still side by side: (n_dims * bits / 8, _LANES)."""
    n_lanes = integers.shape[1]
    n_shifts = 8 // bits
    mask = np.uint8((1 << bits) - 1)
    for word in range(integers.shape[0] * bits // 32):
        for j in range(4):
            out = packed[4 * word + j]
            out[:] = np.uint8(0)
            for s in range(n_shifts):
                codes = integers[4 * (word * n_shifts + s) + j]
                for lane in range(n_lanes):
                    out[lane] |= ((codes[lane] >> np.uint8(shift)) & mask) << np.uint8(bits * s)


@kernel
def _encode_tiles(
    vectors: F32,
    multipliers: F32,
    block: int,
    prefix_bits: I64,
    span_factor: np.float32,
    rms_factor: np.float32,
    blocks: I64,
    plane0: U8,
    plane1: U8,
    widths: F32,
) -> None:
    n_dims = multipliers.shape[1]
    n_bits = prefix_bits[-1]
    tile = np.empty((n_dims, _LANES), np.float32)
    integers = np.empty((n_dims, _LANES), np.uint8)
    packed = np.empty((n_dims, _LANES), np.uint8)
    squares = np.empty(_LANES, np.float32)
    lane_widths = np.empty(_LANES, np.float32)
    for first in range(0, vectors.shape[0], _LANES):
        n = min(_LANES, vectors.shape[0] - first)
        _load_tile(vectors, first, tile)
        _rotate_tile(tile, multipliers, block)
        _grid_tile(tile, n_bits, span_factor, rms_factor, integers, squares)
        for plane in range(len(prefix_bits)):
            _widths_tile(tile, integers, squares, n_bits, prefix_bits[plane], lane_widths)
            widths[plane, first : first + n] = lane_widths[:n]
        for b in range(blocks.shape[0]):
            plane, first_byte, shift, bits = blocks[b]
            _pack_tile(integers, shift, bits, packed)
            out = plane0 if plane == 0 else plane1
            for lane in range(n):
                for i in range(n_dims * bits // 8):
                    out[first + lane, first_byte + i] = packed[i, lane]
