"""Token vectors to codes and back: a fixed rotation, a uniform grid per token, an unbiased width.

After the rotation all coordinates of a vector look alike, so one grid per token serves them all. As there,
everything is strict IEEE arithmetic in a fixed order.
"""

import math

import numpy as np

from colsearch_kernels import reference
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import (
    F32,
    I64,
    U8,
    U16,
    QuantizedQuery,
    address,
    block_bits,
    checked_plane_bits,
    padded_dim,
)
from colsearch_kernels.layout.packing import aligned_block
from colsearch_kernels.layout.rotation import checked_vectors, rotate_back, rotation, rotation_for, tile_bytes
from colsearch_kernels.runtime.native import Kernel
from colsearch_kernels.runtime.tiers import LANES

_encode_tiles, _query_tiles = Kernel("quantize.encode_tiles"), Kernel("quantize.query_tiles")
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


def encode(vectors: F32, plane_bits: tuple[int, ...], seed: int) -> tuple[tuple[U8, ...], tuple[U16, ...]]:
    """Codes of token vectors.

    Each width is set so that <decoded, x> = <x, x> (Gao & Long 2024, RaBitQ, section 3.2): dot products with
    the decoded vector are then unbiased, where the nearest grid point would shrink them.

    Args:
        vectors: (n_tokens, dim) float32.
    Returns: planes and widths as `Codes` holds them. A row with NaN or infinity gets a width that is not
        finite, a row of zeros the width 0: both are for the caller to refuse.
    """
    vectors = checked_vectors(vectors)
    n_tokens = len(vectors)
    n_dims = padded_dim(vectors.shape[1], checked_plane_bits(plane_bits))
    turn = rotation(n_dims, seed)
    planes = tuple(np.empty((n_tokens, n_dims * bits // 8), np.uint8) for bits in plane_bits)
    widths = np.empty((len(plane_bits), n_tokens), np.float32)
    # Bits of the first plane, of the first two.
    prefix_bits, blocks = np.cumsum(plane_bits, dtype=np.int64), _blocks(plane_bits, n_dims)
    _memory, scratch = aligned_block(tile_bytes(n_dims) + 2 * LANES * n_dims + 16 * LANES)
    _encode_tiles(
        address(vectors), *vectors.shape, *turn.arguments, address(prefix_bits), len(prefix_bits),
        *_GRID_WIDTH[plane_bits], address(blocks), len(blocks), address(planes[0]), address(planes[-1]),
        address(widths), scratch,
    )  # fmt: skip
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
    query = checked_vectors(query)
    turn = rotation_for(query.shape[1], plane_bits, seed)
    values = np.empty((len(query), turn.n_dims), np.int8)
    scales = np.empty(len(query), np.float32)
    _memory, scratch = aligned_block(tile_bytes(turn.n_dims) + LANES * turn.n_dims + 12 * LANES)
    not_finite = _query_tiles(
        address(query), *query.shape, *turn.arguments, address(values), address(scales), scratch
    )
    if not_finite:
        raise KernelInputError("the query holds NaN or infinity, or numbers too large to rotate")
    return QuantizedQuery.made(values, scales)


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
