"""Token vectors to codes and back: a fixed rotation, a uniform grid per token, an unbiased width.

After the rotation all coordinates of a vector look alike, so one grid per token serves them all. Like the rotation,
everything here is strict IEEE arithmetic in a fixed order.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from colsearch_kernels import reference
from colsearch_kernels.arguments import F32, U8, U16, CodeGrid, EncodedPlanes
from colsearch_kernels.checks import checked_vectors
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import QuantizedQuery, checked_plane_bits, padded_dim, stored_blocks
from colsearch_kernels.layout.packing import aligned_block
from colsearch_kernels.layout.rotation import rotate_back, rotation, rotation_for
from colsearch_kernels.runtime.kernel import kernel
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES

if TYPE_CHECKING:
    from colsearch_kernels.compiled.quantize import encode_tiles, query_tiles
else:
    encode_tiles = kernel("quantize.encode_tiles", globals())
    query_tiles = kernel("quantize.query_tiles", globals())

# Any change that changes codes needs a new number here and a migration of stored indexes.
CODE_VERSION = 1

# The width of the grid is the smaller of two products: the first factor times the largest |x|, and the second factor
# times the root mean square of the rotated token. The factors were chosen on MiniLM token vectors. With 4 bits the
# error is within 5 % of what a search for the best width of each token leaves, at 96 to 384 dims. Nested planes share
# a grid. At 128 dims the whole span gives (4, 4) an overlap of the first 10 hits with float32 of .971 with one plane
# and .998 with both; the best grid for the first plane, .972, would cost the second .006. (2, 6) gets .907 and .990,
# where a grid for each plane would give .911 and .997.
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
        finite, and a row of zeros gets the width 0: the caller must refuse both.
    """
    vectors = checked_vectors(vectors)
    n_tokens, dim = vectors.shape
    n_dims = padded_dim(dim, checked_plane_bits(plane_bits))
    planes = tuple(np.empty((n_tokens, n_dims * bits // 8), np.uint8) for bits in plane_bits)
    widths = np.empty((len(plane_bits), n_tokens), np.float32)
    blocks = np.array(stored_blocks(plane_bits, n_dims), np.int64)
    span_factor, rms_factor = map(np.float32, _GRID_WIDTH[plane_bits])
    prefix_bits = np.cumsum(plane_bits, dtype=np.int64)
    grid = CodeGrid(prefix_bits, len(prefix_bits), span_factor, rms_factor, blocks, len(blocks))
    # Dims as float32 and twice as bytes, and four vectors of one number per lane.
    scratch = aligned_block((VECTOR_BYTES + 2 * LANES) * n_dims + 4 * VECTOR_BYTES)
    output = EncodedPlanes(planes[0], planes[-1], widths)
    encode_tiles(vectors, n_tokens, dim, rotation(n_dims, seed), grid, output, scratch)
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
    n_tokens, dim = query.shape
    transform = rotation_for(dim, plane_bits, seed)
    n_dims = transform.n_dims
    values, scales = np.empty((n_tokens, n_dims), np.int8), np.empty(n_tokens, np.float32)
    # Dims as float32 and as bytes, and three vectors of one number per lane.
    scratch = aligned_block((VECTOR_BYTES + LANES) * n_dims + 3 * VECTOR_BYTES)
    not_finite = query_tiles(query, n_tokens, dim, transform, values, scales, scratch)
    if not_finite:
        raise KernelInputError("the query holds NaN or infinity, or numbers too large to rotate")
    return QuantizedQuery.unchecked(values, scales)
