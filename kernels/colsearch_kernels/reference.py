"""The arithmetic of this package in plain NumPy, slow and clear: the results that every kernel must equal.

The integer functions are exact: each kernel returns the same bits on every instruction set.
"""

import numpy as np
from numpy.typing import NDArray

from colsearch_kernels.arguments import F32, I64, U8, U16
from colsearch_kernels.layout.codes import QUERY_MAX, Codes, QuantizedQuery, block_bits, checked_n_planes


def maxsim(query: NDArray[np.generic], vectors: NDArray[np.generic], doclens: I64) -> F32:
    """MaxSim in float64, rounded once: the truth for the float kernels, which may differ by rounding.

    Args:
        query: (n_query_tokens, dim) of any float type.
        vectors: (n_tokens, dim) of any float type, the documents' tokens end to end.
        doclens: (n_docs,) tokens per document; sums to n_tokens.
    Returns: (n_docs,) float32; -inf for a document without tokens.
    Source: Khattab & Zaharia 2020, eq. 3.
    """
    offsets = np.concatenate([[0], np.cumsum(doclens)])
    scores = np.full(len(doclens), -np.inf)
    for doc in range(len(doclens)):
        tokens = vectors[offsets[doc] : offsets[doc + 1]].astype(np.float64)
        if len(tokens):
            scores[doc] = (query.astype(np.float64) @ tokens.T).max(axis=1).sum()
    return scores.astype(np.float32)


def maxsim_int8(query: F32, vectors: NDArray[np.int8], scales: F32, doclens: I64) -> F32:
    """MaxSim of `quantize_query(query)` against int8 vectors with a float32 scale per token.

    Args:
        query: (n_query_tokens, dim) float32.
        vectors: (n_tokens, dim) int8.
        scales: (n_tokens,) float32.
        doclens: (n_docs,) tokens per document; sums to n_tokens.
    Returns: (n_docs,) float32; -inf for a document without tokens.
    """
    grid = quantize_query(query)
    dots = grid.values.astype(np.int64) @ vectors.T.astype(np.int64)
    similarities = dots.astype(np.float32) * scales
    offsets = np.concatenate([[0], np.cumsum(doclens)])
    scores = np.full(len(doclens), -np.inf, np.float32)
    for doc in range(len(doclens)):
        tokens = similarities[:, offsets[doc] : offsets[doc + 1]]
        if tokens.shape[1]:
            scores[doc] = _weighted_sum(tokens.max(axis=1), grid.scales)
    return scores


def pack_plane(values: U8, bits: int) -> U8:
    """(n_tokens, padded_dim) integers below 2**bits -> (n_tokens, padded_dim * bits / 8) plane bytes."""
    blocks, bits_below = [], bits
    for block in block_bits(bits):
        bits_below -= block
        blocks.append(_pack_block((values >> np.uint8(bits_below)) & np.uint8((1 << block) - 1), block))
    return np.concatenate(blocks, axis=1)


def unpack_plane(plane: U8, bits: int) -> U8:
    """Inverse of `pack_plane`."""
    n_dims = plane.shape[1] * 8 // bits
    first_bits, *more_bits = block_bits(bits)
    first_byte = n_dims * first_bits // 8
    values = _unpack_block(plane[:, :first_byte], first_bits)
    for block in more_bits:
        end = first_byte + n_dims * block // 8
        values = (values << np.uint8(block)) | _unpack_block(plane[:, first_byte:end], block)
        first_byte = end
    return values


def _pack_block(values: U8, bits: int) -> U8:
    n_shifts = 8 // bits
    by_word = values.reshape(len(values), values.shape[1] // (4 * n_shifts), n_shifts, 4)
    packed: U8 = np.bitwise_or.reduce(by_word << _shifts(bits), axis=2)
    return packed.reshape(len(values), values.shape[1] * bits // 8)


def _unpack_block(block: U8, bits: int) -> U8:
    words = block.reshape(len(block), block.shape[1] // 4, 1, 4)
    values: U8 = (words >> _shifts(bits)) & np.uint8((1 << bits) - 1)
    return values.reshape(len(block), block.shape[1] * 8 // bits)


def _shifts(bits: int) -> U8:
    """(8 / bits, 1) shifts of a 32-bit word; each gives four dims, one per byte."""
    shifts: U8 = (np.arange(8 // bits) * bits).astype(np.uint8)
    return shifts[:, None]


def pack(values: U8, plane_bits: tuple[int, ...]) -> tuple[U8, ...]:
    """Split (n_tokens, padded_dim) integers of sum(plane_bits) bits into planes, high bits first."""
    planes = []
    below = sum(plane_bits)
    for bits in plane_bits:
        below -= bits
        planes.append(pack_plane((values >> np.uint8(below)) & np.uint8((1 << bits) - 1), bits))
    return tuple(planes)


def unpack(
    planes: tuple[U8, ...], plane_bits: tuple[int, ...], n_planes: int | None = None
) -> tuple[U8, int]:
    """The integers of the first `n_planes` planes, (n_tokens, padded_dim), and their number of bits."""
    n_planes = checked_n_planes(n_planes, plane_bits)
    values = unpack_plane(planes[0], plane_bits[0])
    for plane, bits in zip(planes[1:n_planes], plane_bits[1:n_planes]):
        values = (values << np.uint8(bits)) | unpack_plane(plane, bits)
    return values, sum(plane_bits[:n_planes])


def decode_rows(
    planes: tuple[U8, ...], widths: tuple[U16, ...], plane_bits: tuple[int, ...], n_planes: int | None = None
) -> F32:
    """(n_tokens, padded_dim) float32: the rotated vectors that the first `n_planes` planes stand for."""
    n_planes = checked_n_planes(n_planes, plane_bits)
    values, bits = unpack(planes, plane_bits, n_planes)
    odd = 2 * values.astype(np.int32) - (2**bits - 1)
    decoded: F32 = odd.astype(np.float32) * _float_widths(widths[n_planes - 1])[:, None]
    return decoded * np.float32(2.0 ** -(bits + 1))


def decode(codes: Codes, n_planes: int | None = None) -> F32:
    """`decode_rows` of all tokens of `codes`."""
    return decode_rows(codes.planes, codes.widths, codes.plane_bits, n_planes)


def _float_widths(widths: U16) -> F32:
    return widths.view(np.float16).astype(np.float32)


def quantize_query(rotated: F32) -> QuantizedQuery:
    """Put each rotated query token on its own grid of -63..63.

    Args:
        rotated: (n_query_tokens, padded_dim) float32, finite.
    """
    scales = np.abs(rotated).max(axis=1) / np.float32(QUERY_MAX)
    divisors = np.where(scales > 0, scales, np.float32(1))[:, None]
    values = np.clip(np.rint(rotated / divisors), -QUERY_MAX, QUERY_MAX)
    # A token whose scale underflows to zero counts for nothing.
    values[scales == 0] = 0
    return QuantizedQuery(values.astype(np.int8), scales)


def similarities(query: QuantizedQuery, codes: Codes, ordinal: int, n_planes: int | None = None) -> F32:
    """(n_query_tokens, doclen) float32: dot products of one document's codes with the query *values*.

    The query token's scale is left out. It is the same for all document tokens, so the best token does not depend on
    it, and the score multiplies with it in float64.
    """
    n_planes = checked_n_planes(n_planes, codes.plane_bits)
    tokens = slice(int(codes.offsets[ordinal]), int(codes.offsets[ordinal + 1]))
    values, bits = unpack(tuple(plane[tokens] for plane in codes.planes), codes.plane_bits, n_planes)
    widths = _float_widths(codes.widths[n_planes - 1][tokens])
    integer_query = query.values.astype(np.int64)
    acc = 2 * (integer_query @ values.T.astype(np.int64))
    acc -= (2**bits - 1) * integer_query.sum(axis=1)[:, None]
    # The power of two is exact, so only int32 -> float32 and the product with the width round.
    similarity: F32 = acc.astype(np.float32) * widths * np.float32(2.0 ** -(bits + 1))
    return similarity


def score_codes(
    query: QuantizedQuery, codes: Codes, *, ordinals: I64 | None = None, n_planes: int | None = None
) -> F32:
    """(n,) float32 MaxSim of each document (of `ordinals`, or all); -inf for one without tokens."""
    if ordinals is None:
        ordinals = np.arange(codes.n_docs)
    scores = np.full(len(ordinals), -np.inf, np.float32)
    for i, ordinal in enumerate(ordinals):
        similarity = similarities(query, codes, int(ordinal), n_planes)
        if similarity.shape[1] == 0:
            continue
        scores[i] = _weighted_sum(similarity.max(axis=1), query.scales)
    return scores


def _weighted_sum(best: F32, scales: F32) -> np.float32:
    """The sum of maxima times scales, in float64 and in the order of the query tokens, rounded once."""
    total = np.float64(0)
    for maximum, scale in zip(best, scales):
        total += np.float64(maximum) * np.float64(scale)
    return np.float32(total)


def score_codes_batch(
    queries: list[QuantizedQuery], codes: Codes, *, ordinals: I64 | None = None, n_planes: int | None = None
) -> F32:
    """(n_queries, n) float32: `score_codes` of each query."""
    n = codes.n_docs if ordinals is None else len(ordinals)
    scores = np.empty((len(queries), n), np.float32)
    for i, query in enumerate(queries):
        scores[i] = score_codes(query, codes, ordinals=ordinals, n_planes=n_planes)
    return scores


def top_k(
    query: QuantizedQuery,
    codes: Codes,
    k: int,
    *,
    ordinals: I64 | None = None,
    live: NDArray[np.bool_] | None = None,
    n_planes: int | None = None,
) -> tuple[I64, F32]:
    """Ordinals and scores of the k best documents, best first; equal scores by ascending ordinal.

    Documents that are not `live` ((n_docs,) bool) or have no token are never returned.
    """
    if ordinals is None:
        ordinals = np.arange(codes.n_docs)
    if live is not None:
        ordinals = ordinals[live[ordinals]]
    ordinals = ordinals[np.diff(codes.offsets)[ordinals] > 0]
    scores = score_codes(query, codes, ordinals=ordinals, n_planes=n_planes)
    order = np.lexsort((ordinals, -scores))[:k]
    return ordinals[order], scores[order]


def token_maxima(query: QuantizedQuery, codes: Codes, *, n_planes: int | None = None) -> F32:
    """(n_docs, n_query_tokens) float32: the maxima whose sum is MaxSim; -inf for a document without tokens."""
    maxima = np.full((codes.n_docs, len(query)), -np.inf, np.float32)
    for ordinal in np.flatnonzero(codes.doclens):
        maxima[ordinal] = similarities(query, codes, int(ordinal), n_planes).max(axis=1) * query.scales
    return maxima


def align(
    query: QuantizedQuery, codes: Codes, ordinal: int, *, n_planes: int | None = None
) -> tuple[I64, F32]:
    """For each query token, the best token of one document, and the share of the score that it contributes.

    Returns: (n_query_tokens,) int64 positions within the document, the first of equally good ones, and
        (n_query_tokens,) float32. A document without tokens gives -1 and -inf.
    """
    similarity = similarities(query, codes, ordinal, n_planes)
    if similarity.shape[1] == 0:
        return np.full(len(query), -1, np.int64), np.full(len(query), -np.inf, np.float32)
    shares = similarity.max(axis=1).astype(np.float64) * query.scales.astype(np.float64)
    return similarity.argmax(axis=1), shares.astype(np.float32)
