"""MaxSim over stored codes: planes are unpacked a tile at a time, then scored by one integer kernel.

Every tier computes the same integers and the same float32 products, so a score is the same number anywhere;
`reference.score_codes` is the slow and clear twin.
"""

import numpy as np
from numba import njit

from colsearch_kernels import emit
from colsearch_kernels.jit import kernel
from colsearch_kernels.tiers import tier

TIER = tier()
TILE = 8 if TIER == "avx512" else 4
_pair_tile = emit.integer_tile(TIER, TILE, 2)
_single_tile = emit.integer_tile(TIER, TILE, 1)
_one_by_64, _one_by_16, _one_by_4 = (emit.unpacker(chunk, 1) for chunk in (64, 16, 4))
_both_by_64, _both_by_4 = (emit.unpacker(chunk, 2) for chunk in (64, 4))


# Everything below indexes flat arrays: slicing a row costs an atomic reference count, some 20 ns a token.


@njit(nogil=True, error_model="numpy", inline="always")
def _address(array):  # type: ignore[no-untyped-def]
    return array.ctypes.data


@njit(nogil=True, error_model="numpy")
def _unpack_token(  # type: ignore[no-untyped-def]
    plane0, plane1, bits0, bits1, n_shifts, n_planes, n_dims, out
):
    """One token's plane bytes (addresses) -> n_dims values of one byte each."""
    n0, n1 = n_dims * bits0 // 8, n_dims * bits1 // 8
    if n_planes == 1:
        if n0 % 64 == 0:
            _one_by_64(plane0, plane0, n0, bits0, n_shifts, out)
        elif n0 % 16 == 0:
            _one_by_16(plane0, plane0, n0, bits0, n_shifts, out)
        else:
            _one_by_4(plane0, plane0, n0, bits0, n_shifts, out)
    elif bits0 == bits1:
        if n0 % 64 == 0:
            _both_by_64(plane0, plane1, n0, bits0, n_shifts, out)
        else:
            _both_by_4(plane0, plane1, n0, bits0, n_shifts, out)
    else:
        # A plane of 6 bits is a block of 4 and a block of 2.
        split = n_dims // 2
        emit.clear(out, n_dims)
        emit.unpack_dims(plane0, n0, bits0, bits1, out)
        emit.unpack_dims(plane1, split, 4, 2, out)
        emit.unpack_dims(plane1 + split, n1 - split, 2, 0, out)


@njit(nogil=True, error_model="numpy")
def _document_maxima(  # type: ignore[no-untyped-def]
    plane0, plane1, bits0, bits1, n_planes, widths, start, stop, n_dims,
    query, corrections, n_vectors, tile, width_bits, tile_widths, maxima,
):  # fmt: skip
    bits = bits0 + (bits1 if n_planes == 2 else 0)
    # float16 has 15 as its bias, float32 127; the rest is the grid's 2**-(bits + 1).
    scale = np.float32(2.0**112) * np.float32(2.0 ** -(bits + 1))
    at0, at1, tile_at, widths_at = _address(plane0), _address(plane1), _address(tile), _address(tile_widths)
    query_at, corrections_at, maxima_at = _address(query), _address(corrections), _address(maxima)
    bytes0, bytes1 = n_dims * bits0 // 8, n_dims * bits1 // 8
    n_shifts = 8 // bits0
    for first in range(start, stop, TILE):
        for t in range(TILE):
            # A short tile repeats the last token, which changes no maximum.
            token = min(first + t, stop - 1)
            _unpack_token(
                at0 + token * bytes0,
                at1 + token * bytes1,
                bits0,
                bits1,
                n_shifts,
                n_planes,
                n_dims,
                tile_at + t * n_dims,
            )
            width_bits[t] = np.uint32(widths[token]) << np.uint32(13)
        for t in range(TILE):
            tile_widths[t] *= scale
        v = 0
        while v + 1 < n_vectors:
            _pair_tile(
                tile_at, n_dims, widths_at, query_at + v * 16 * n_dims,
                corrections_at + 64 * v, maxima_at + 64 * v, n_dims // 4,
            )  # fmt: skip
            v += 2
        if v < n_vectors:
            _single_tile(
                tile_at, n_dims, widths_at, query_at + v * 16 * n_dims,
                corrections_at + 64 * v, maxima_at + 64 * v, n_dims // 4,
            )  # fmt: skip


@njit(nogil=True, error_model="numpy")
def aligned_zeros(n_bytes):  # type: ignore[no-untyped-def]
    """uint8 zeros whose first byte lies on a 64-byte boundary."""
    raw = np.zeros(n_bytes + 64, np.uint8)
    skip = (-_address(raw)) % 64
    return raw[skip : skip + n_bytes]


@kernel
def score_documents(  # type: ignore[no-untyped-def]
    plane0, plane1, bits0, bits1, n_planes, widths, offsets, ordinals, all_documents, first, last,
    query, corrections, scales, query_vectors, n_dims, scores,
):  # fmt: skip
    """scores[q, i] of documents first..last-1 of `ordinals`, or of the segment if all_documents."""
    n_vectors = query_vectors[-1]
    tile = aligned_zeros(TILE * n_dims)
    width_bits = aligned_zeros(4 * TILE).view(np.uint32)
    tile_widths = width_bits.view(np.float32)
    maxima = aligned_zeros(n_vectors * 64).view(np.float32)
    for i in range(first, last):
        ordinal = i if all_documents else ordinals[i]
        start, stop = offsets[ordinal], offsets[ordinal + 1]
        if start == stop:
            for q in range(len(query_vectors) - 1):
                scores[q, i] = -np.inf
            continue
        for lane in range(16 * n_vectors):
            maxima[lane] = -np.inf
        _document_maxima(
            plane0, plane1, bits0, bits1, n_planes, widths, start, stop, n_dims,
            query, corrections, n_vectors, tile, width_bits, tile_widths, maxima,
        )  # fmt: skip
        for q in range(len(query_vectors) - 1):
            total = 0.0
            for lane in range(16 * query_vectors[q], 16 * query_vectors[q + 1]):
                total += np.float64(maxima[lane]) * np.float64(scales[lane])
            scores[q, i] = np.float32(total)
