"""One pass over the codes on a GPU: decode, score and take the maximum, without writing a similarity.

One program scores one document with a tile of query tokens. A block of b bits is read as bytes; shift s of
its bytes holds the dims `w * (32 / b) + 4 * s + j`, so the query is laid out once in that order and the
unpacked bytes go into an int8 dot product as they are. u is a weighted sum of its blocks, and so is the dot
product. Bytes of 8 bits would leave int8: they are taken as two nibbles.

Never run on a GPU yet: tested in Triton's interpreter. Oracle: `reference.similarities`.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from colsearch_kernels.torch_backend import DeviceCodes, blocks_of

_TOKENS = 32
_BYTES = 64
_MAX_QUERY_TILE = 64


def best_similarities(
    values: torch.Tensor, codes: DeviceCodes, ordinals: torch.Tensor, n_planes: int
) -> torch.Tensor:
    """Best similarity of each query token in each document.

    Args:
        values: (n_query_tokens, padded_dim) float32 integers of -63..63.
        ordinals: (n,) int64 on the device of the codes.
    Returns: (n, n_query_tokens) float32; -inf for a document without tokens.
    """
    n_query_tokens = len(values)
    tile = min(_MAX_QUERY_TILE, max(16, triton.next_power_of_2(n_query_tokens)))
    n_tiles = triton.cdiv(n_query_tokens, tile)
    streams = [
        (codes.planes[plane], first_byte, codes.padded_dim * block // 8, block, weight)
        for plane, first_byte, block, weight in blocks_of(codes, n_planes)
    ]
    arguments: list[Any] = []
    for plane, first_byte, n_bytes, block, weight in streams:
        arguments += [plane, plane.shape[1], first_byte, n_bytes]
        arguments += [_in_byte_order(values, block, n_tiles * tile), block, weight]
    # The kernel has three slots for blocks; an unused one has 0 bits and is compiled away.
    for _ in range(3 - len(streams)):
        arguments += [codes.planes[0], 0, 0, 0, values, 0, 0]
    sums = torch.zeros(n_tiles * tile, dtype=torch.int32, device=codes.device)
    sums[:n_query_tokens] = values.sum(dim=1).int()
    best = torch.empty((len(ordinals), n_tiles * tile), dtype=torch.float32, device=codes.device)
    bits = sum(codes.plane_bits[:n_planes])
    if len(ordinals):
        _best_kernel[(len(ordinals), n_tiles)](
            ordinals,
            codes.offsets,
            codes.widths[n_planes - 1],
            sums,
            best,
            n_tiles * tile,
            2**bits - 1,
            2.0 ** -(bits + 1),
            *arguments,
            TOKENS=_TOKENS,
            QUERIES=tile,
            BYTES=_BYTES,
        )
    return best[:, :n_query_tokens]


def _in_byte_order(values: torch.Tensor, bits: int, n_rows: int) -> torch.Tensor:
    """Query as (shifts, bytes, n_rows) int8: the factors of byte i of a block at shift s."""
    n_query_tokens, n_dims = values.shape
    n_shifts = 8 // bits
    by_word = values.to(torch.int8).reshape(n_query_tokens, n_dims // (4 * n_shifts), n_shifts, 4)
    ordered = by_word.permute(2, 1, 3, 0).reshape(n_shifts, n_dims // n_shifts, n_query_tokens)
    padded = torch.zeros((n_shifts, n_dims // n_shifts, n_rows), dtype=torch.int8, device=values.device)
    padded[:, :, :n_query_tokens] = ordered
    return padded


@triton.jit  # type: ignore[untyped-decorator]
def _block_dot(  # type: ignore[no-untyped-def]
    plane,
    row_bytes,
    first_byte,
    n_bytes,
    query,
    n_rows,
    rows,
    row_mask,
    columns,
    BITS: tl.constexpr,
    TOKENS: tl.constexpr,
    QUERIES: tl.constexpr,
    BYTES: tl.constexpr,
):
    """(TOKENS, QUERIES) int32: dot products of the query with one block's integers."""
    total = tl.zeros((TOKENS, QUERIES), dtype=tl.int32)
    for start in range(0, n_bytes, BYTES):
        position = start + tl.arange(0, BYTES)
        inside = position < n_bytes
        address = plane + rows[:, None] * row_bytes + first_byte + position[None, :]
        packed = tl.load(address, mask=row_mask[:, None] & inside[None, :], other=0)
        for shift in tl.static_range(8 // BITS):
            address = query + (shift * n_bytes + position[:, None]) * n_rows + columns[None, :]
            values = tl.load(address, mask=inside[:, None], other=0)
            if BITS == 8:
                low = (packed & 15).to(tl.int8)
                high = (packed >> 4).to(tl.int8)
                total += 16 * tl.dot(high, values, out_dtype=tl.int32)
                total += tl.dot(low, values, out_dtype=tl.int32)
            else:
                integers = ((packed >> (shift * BITS)) & ((1 << BITS) - 1)).to(tl.int8)
                total += tl.dot(integers, values, out_dtype=tl.int32)
    return total


@triton.jit  # type: ignore[untyped-decorator]
def _best_kernel(  # type: ignore[no-untyped-def]
    ordinals,
    offsets,
    widths,
    sums,
    best,
    n_rows,
    top,
    unit,
    plane0,
    row_bytes0,
    first_byte0,
    n_bytes0,
    query0,
    BITS0: tl.constexpr,
    WEIGHT0: tl.constexpr,
    plane1,
    row_bytes1,
    first_byte1,
    n_bytes1,
    query1,
    BITS1: tl.constexpr,
    WEIGHT1: tl.constexpr,
    plane2,
    row_bytes2,
    first_byte2,
    n_bytes2,
    query2,
    BITS2: tl.constexpr,
    WEIGHT2: tl.constexpr,
    TOKENS: tl.constexpr,
    QUERIES: tl.constexpr,
    BYTES: tl.constexpr,
):
    document = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * QUERIES + tl.arange(0, QUERIES)
    ordinal = tl.load(ordinals + document)
    first = tl.load(offsets + ordinal)
    last = tl.load(offsets + ordinal + 1)
    query_sums = tl.load(sums + columns)
    maxima = tl.full((QUERIES,), float("-inf"), dtype=tl.float32)
    for start in range(first, last, TOKENS):
        rows = start + tl.arange(0, TOKENS)
        row_mask = rows < last
        total = WEIGHT0 * _block_dot(
            plane0, row_bytes0, first_byte0, n_bytes0, query0, n_rows, rows, row_mask, columns,
            BITS0, TOKENS, QUERIES, BYTES,
        )  # fmt: skip
        if BITS1 > 0:
            total += WEIGHT1 * _block_dot(
                plane1, row_bytes1, first_byte1, n_bytes1, query1, n_rows, rows, row_mask, columns,
                BITS1, TOKENS, QUERIES, BYTES,
            )  # fmt: skip
        if BITS2 > 0:
            total += WEIGHT2 * _block_dot(
                plane2, row_bytes2, first_byte2, n_bytes2, query2, n_rows, rows, row_mask, columns,
                BITS2, TOKENS, QUERIES, BYTES,
            )  # fmt: skip
        acc = 2 * total - top * query_sums[None, :]
        width = tl.load(widths + rows, mask=row_mask, other=0.0)
        similarity = acc.to(tl.float32) * width[:, None] * unit
        # A padding row would score 0 and beat documents whose similarities are all negative.
        similarity = tl.where(row_mask[:, None], similarity, float("-inf"))
        maxima = tl.maximum(maxima, tl.max(similarity, axis=0))
    tl.store(best + document * n_rows + columns, maxima)
