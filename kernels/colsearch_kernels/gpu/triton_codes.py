"""One pass over the codes on a GPU: decode, score and take the maximum, without writing a similarity.

One program scores a few documents with a tile of query tokens. A block of b bits is read as bytes. Shift s of its bytes
holds the dims `w * (32 / b) + 4 * s + j`, so the query is laid out once in that order, and the unpacked bytes go into
an int8 dot product as they are. u is a weighted sum of its blocks, and so is the dot product. Integers of 8 bits would
not fit into int8, so u - 128 is used for them; two planes of 4 bits are joined to such bytes first. A second kernel
sums the maxima of each query in the order of its tokens, in float64, as its oracle `reference.score_codes` does.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from colsearch_kernels.arguments import I8
from colsearch_kernels.gpu.device_codes import DeviceCodes, to_device_at_once
from colsearch_kernels.layout.codes import QuantizedQuery, StoredBlock, stored_blocks

# Whether to use PTX that handles four bytes at a time, which Triton does not do by itself. Its interpreter and other
# GPUs take the bytes one by one.
_PTX = torch.version.cuda is not None and os.environ.get("TRITON_INTERPRET", "0") != "1"

_TOKENS, _BYTES = 32, 64
# Measured on an H200; DOCUMENTS is what one program scores.
_STAGES, _DOCUMENTS = 2, 4
_MAX_QUERY_TILE = 128
# Bytes of the query that a multiprocessor holds while it reads documents.
_QUERY_BYTES = 48 << 10
_SUMMED = 128
# CUDA's second axis has at most 65,535 programs.
_MOST_SUMMED = 65535 * _SUMMED


def scores(
    queries: Sequence[QuantizedQuery],
    codes: DeviceCodes,
    ordinals: torch.Tensor,
    n_planes: int,
    memory_bytes: int,
) -> torch.Tensor:
    """(n_queries, n) float32 on the device: MaxSim, -inf for a document without tokens.

    Args:
        ordinals: (n,) int64 on the device of the codes.
        memory_bytes: limit of the maxima, one float32 for each query token and document, that are held at once.
    """
    n_query_tokens = sum(map(len, queries))
    tile = min(_MAX_QUERY_TILE, max(16, triton.next_power_of_2(n_query_tokens)))
    while tile > 16 and tile * codes.padded_dim > _QUERY_BYTES:
        tile //= 2
    n_warps = 1 if tile <= 32 else 2 if tile * codes.padded_dim <= _QUERY_BYTES // 3 else 4
    n_tiles = triton.cdiv(n_query_tokens, tile)
    n_rows = n_tiles * tile
    values = np.zeros((n_rows, codes.padded_dim), np.int8)
    np.concatenate([query.values for query in queries], out=values[:n_query_tokens])
    blocks = stored_blocks(codes.plane_bits[:n_planes], codes.padded_dim)
    widths = sorted({block.bits for block in blocks})
    sums, scales, ends, *ordered = to_device_at_once(
        [
            values.sum(axis=1, dtype=np.int32),
            np.concatenate([query.scales for query in queries]),
            np.cumsum([0, *map(len, queries)]),
            *(_in_byte_order(values, bits) for bits in widths),
        ],
        codes.device,
    )
    arguments = _block_arguments(codes, blocks, dict(zip(widths, ordered)))
    found = torch.empty((len(queries), len(ordinals)), dtype=torch.float32, device=codes.device)
    bits = sum(codes.plane_bits[:n_planes])
    at_once = min(max(1, memory_bytes // (4 * n_rows)), _MOST_SUMMED)
    for first in range(0, len(ordinals), at_once):
        portion = ordinals[first : first + at_once]
        best = torch.empty((len(portion), n_rows), dtype=torch.float32, device=codes.device)
        _best_kernel[(triton.cdiv(len(portion), _DOCUMENTS) * n_tiles,)](
            portion,
            codes.offsets,
            codes.widths[n_planes - 1],
            sums,
            best,
            len(portion),
            *arguments,
            BITS=bits,
            TILES=n_tiles,
            DOCUMENTS=_DOCUMENTS,
            TOKENS=_TOKENS,
            QUERIES=tile,
            BYTES=_BYTES,
            PTX=_PTX,
            num_warps=n_warps,
            num_stages=_STAGES,
        )
        _sum_kernel[(len(queries), triton.cdiv(len(portion), _SUMMED))](
            portion, codes.offsets, best, scales, ends, found[:, first:],
            len(portion), n_rows, found.stride(0), DOCUMENTS=_SUMMED,
        )  # fmt: skip
    return found


def _block_arguments(
    codes: DeviceCodes, blocks: Sequence[StoredBlock], ordered: dict[int, torch.Tensor]
) -> list[Any]:
    """The arguments of `_best_kernel` for each block; it has slots for three, and one of 0 bits is compiled away.

    Args:
        ordered: the query laid out for blocks, by their number of bits.
    """
    arguments: list[Any] = []
    for block in blocks:
        plane, query = codes.planes[block.plane], ordered[block.bits]
        n_bytes, weight = codes.padded_dim * block.bits // 8, 1 << block.bits_below
        arguments += [plane, query, plane.shape[1], block.first_byte, n_bytes, block.bits, weight]
    for _ in range(3 - len(blocks)):
        arguments += [codes.planes[0], ordered[blocks[0].bits], 0, 0, 0, 0, 0]
    return arguments


def _in_byte_order(values: I8, bits: int) -> I8:
    """Query as (shifts, n_rows, bytes) int8: the factors of byte i of a block at shift s."""
    n_rows, n_dims = values.shape
    n_shifts = 8 // bits
    by_word = values.reshape(n_rows, n_dims // (4 * n_shifts), n_shifts, 4)
    return np.ascontiguousarray(by_word.transpose(2, 0, 1, 3).reshape(n_shifts, n_rows, n_dims // n_shifts))


@triton.jit  # type: ignore[untyped-decorator]
def _field(packed, BITS: tl.constexpr, PTX: tl.constexpr):  # type: ignore[no-untyped-def]
    """The lowest `BITS` bits of each byte."""
    if not PTX:
        return (packed & ((1 << BITS) - 1)).to(tl.int8)
    MASK: tl.constexpr = "0x0f0f0f0f" if BITS == 4 else "0x03030303" if BITS == 2 else "0x01010101"
    return tl.inline_asm_elementwise(
        "and.b32 $0, $1, " + MASK + ";", "=r,r", [packed], dtype=tl.int8, is_pure=True, pack=4
    )


@triton.jit  # type: ignore[untyped-decorator]
def _shifted(packed, BITS: tl.constexpr, PTX: tl.constexpr):  # type: ignore[no-untyped-def]
    """Bytes whose lowest bits are those that lay `BITS` higher; the other bits are undefined."""
    if not PTX:
        return packed >> BITS
    SHIFT: tl.constexpr = "4" if BITS == 4 else "2" if BITS == 2 else "1"
    return tl.inline_asm_elementwise(
        "shr.b32 $0, $1, " + SHIFT + ";", "=r,r", [packed], dtype=tl.uint8, is_pure=True, pack=4
    )


@triton.jit  # type: ignore[untyped-decorator]
def _signed(byte, PTX: tl.constexpr):  # type: ignore[no-untyped-def]
    """Bytes less 128."""
    if not PTX:
        return (byte ^ 128).to(tl.int8, bitcast=True)
    return tl.inline_asm_elementwise(
        "xor.b32 $0, $1, 0x80808080;", "=r,r", [byte], dtype=tl.int8, is_pure=True, pack=4
    )


@triton.jit  # type: ignore[untyped-decorator]
def _joined(high, low, SHIFT: tl.constexpr, PTX: tl.constexpr):  # type: ignore[no-untyped-def]
    """Bytes less 128 of the low nibbles (SHIFT 0) or the high ones (1) of two planes."""
    if not PTX:
        if SHIFT == 0:
            return (((high << 4) | (low & 15)) ^ 128).to(tl.int8, bitcast=True)
        return (((high & 240) | (low >> 4)) ^ 128).to(tl.int8, bitcast=True)
    if SHIFT == 0:
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 h, l;
            shl.b32 h, $1, 4;
            and.b32 h, h, 0xf0f0f0f0;
            and.b32 l, $2, 0x0f0f0f0f;
            or.b32 h, h, l;
            xor.b32 $0, h, 0x80808080;
            }""",
            "=r,r,r", [high, low], dtype=tl.int8, is_pure=True, pack=4,
        )  # fmt: skip
    return tl.inline_asm_elementwise(
        """{
        .reg .b32 h, l;
        and.b32 h, $1, 0xf0f0f0f0;
        shr.b32 l, $2, 4;
        and.b32 l, l, 0x0f0f0f0f;
        or.b32 h, h, l;
        xor.b32 $0, h, 0x80808080;
        }""",
        "=r,r,r", [high, low], dtype=tl.int8, is_pure=True, pack=4,
    )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def _bytes_of(  # type: ignore[no-untyped-def]
    plane,
    rows,
    RUN: tl.constexpr,
    ROW_BYTES: tl.constexpr,
    FIRST_BYTE: tl.constexpr,
    N_BYTES: tl.constexpr,
    BYTES: tl.constexpr,
):
    """(TOKENS, BYTES) uint8: one run of bytes of a block."""
    position = RUN * BYTES + tl.arange(0, BYTES)
    address = plane + rows[:, None] * ROW_BYTES + (FIRST_BYTE + position[None, :])
    if N_BYTES % BYTES == 0:
        return tl.load(address)
    return tl.load(address, mask=position[None, :] < N_BYTES, other=0)


@triton.jit  # type: ignore[untyped-decorator]
def _query_tiles(  # type: ignore[no-untyped-def]
    query,
    columns,
    n_rows,
    N_BYTES: tl.constexpr,
    BITS: tl.constexpr,
    BYTES: tl.constexpr,
):
    """The (BYTES, QUERIES) factors of one block, for each run of bytes and each shift."""
    tiles = ()
    for start in tl.static_range(0, N_BYTES, BYTES):
        position = start + tl.arange(0, BYTES)
        for shift in tl.static_range(8 // BITS):
            address = query + (shift * n_rows + columns[:, None]) * N_BYTES + position[None, :]
            tile = tl.load(address, mask=position[None, :] < N_BYTES, other=0).T
            tiles = tiles + (tile,)  # type: ignore[assignment]  # noqa: RUF005
    return tiles


@triton.jit  # type: ignore[untyped-decorator]
def _block_dot(  # type: ignore[no-untyped-def]
    plane,
    tiles,
    rows,
    ROW_BYTES: tl.constexpr,
    FIRST_BYTE: tl.constexpr,
    N_BYTES: tl.constexpr,
    BITS: tl.constexpr,
    TOKENS: tl.constexpr,
    QUERIES: tl.constexpr,
    BYTES: tl.constexpr,
    PTX: tl.constexpr,
):
    """(TOKENS, QUERIES) int32: dot products of the query with one block's integers, of 8 bits less 128."""
    total = tl.zeros((TOKENS, QUERIES), dtype=tl.int32)
    for run in tl.static_range((N_BYTES + BYTES - 1) // BYTES):
        packed = _bytes_of(plane, rows, run, ROW_BYTES, FIRST_BYTE, N_BYTES, BYTES)
        if BITS == 8:
            total = tl.dot(_signed(packed, PTX), tiles[run], total, out_dtype=tl.int32)
        else:
            for shift in tl.static_range(8 // BITS):
                values = tiles[run * (8 // BITS) + shift]
                total = tl.dot(_field(packed, BITS, PTX), values, total, out_dtype=tl.int32)
                packed = _shifted(packed, BITS, PTX)
    return total


@triton.jit  # type: ignore[untyped-decorator]
def _joined_dot(  # type: ignore[no-untyped-def]
    plane0,
    plane1,
    tiles,
    rows,
    N_BYTES: tl.constexpr,
    TOKENS: tl.constexpr,
    QUERIES: tl.constexpr,
    BYTES: tl.constexpr,
    PTX: tl.constexpr,
):
    """(TOKENS, QUERIES) int32: dot products of the query with u - 128, whose nibbles lie in two planes."""
    total = tl.zeros((TOKENS, QUERIES), dtype=tl.int32)
    for run in tl.static_range((N_BYTES + BYTES - 1) // BYTES):
        high = _bytes_of(plane0, rows, run, N_BYTES, 0, N_BYTES, BYTES)
        low = _bytes_of(plane1, rows, run, N_BYTES, 0, N_BYTES, BYTES)
        for shift in tl.static_range(2):
            joined = _joined(high, low, shift, PTX)
            total = tl.dot(joined, tiles[2 * run + shift], total, out_dtype=tl.int32)
    return total


# Compiled once, whatever the number of documents.
@triton.jit(do_not_specialize=["n_docs"])  # type: ignore[untyped-decorator]
def _best_kernel(  # type: ignore[no-untyped-def]
    ordinals,
    offsets,
    widths,
    sums,
    best,
    n_docs,
    plane0,
    query0,
    ROW_BYTES0: tl.constexpr,
    FIRST_BYTE0: tl.constexpr,
    N_BYTES0: tl.constexpr,
    BITS0: tl.constexpr,
    WEIGHT0: tl.constexpr,
    plane1,
    query1,
    ROW_BYTES1: tl.constexpr,
    FIRST_BYTE1: tl.constexpr,
    N_BYTES1: tl.constexpr,
    BITS1: tl.constexpr,
    WEIGHT1: tl.constexpr,
    plane2,
    query2,
    ROW_BYTES2: tl.constexpr,
    FIRST_BYTE2: tl.constexpr,
    N_BYTES2: tl.constexpr,
    BITS2: tl.constexpr,
    WEIGHT2: tl.constexpr,
    BITS: tl.constexpr,
    TILES: tl.constexpr,
    DOCUMENTS: tl.constexpr,
    TOKENS: tl.constexpr,
    QUERIES: tl.constexpr,
    BYTES: tl.constexpr,
    PTX: tl.constexpr,
):
    """Each query token's best similarity in each document: `best` (n_docs, TILES * QUERIES)."""
    JOINED: tl.constexpr = BITS0 == 4 and BITS1 == 4 and BITS2 == 0
    # Subtracted from each integer, so that it fits a signed byte.
    OFFSET: tl.constexpr = 128 if JOINED or BITS0 == 8 else 0
    # Neighbouring programs score the same documents, so that the second one finds them in the cache.
    first_document = (tl.program_id(0) // TILES).to(tl.int64) * DOCUMENTS
    columns = tl.program_id(0) % TILES * QUERIES + tl.arange(0, QUERIES)
    n_rows = TILES * QUERIES
    # The part of the sum of (2 u - (2**b - 1)) q that twice the dot product of u - OFFSET leaves out.
    constant = (2 * OFFSET - ((1 << BITS) - 1)) * tl.load(sums + columns)
    tiles0 = _query_tiles(query0, columns, n_rows, N_BYTES0, BITS0, BYTES)
    tiles1 = tiles0
    if BITS1 > 0 and BITS1 != BITS0:
        tiles1 = _query_tiles(query1, columns, n_rows, N_BYTES1, BITS1, BYTES)
    tiles2 = tiles0
    if BITS2 > 0 and BITS2 != BITS0:
        tiles2 = _query_tiles(query2, columns, n_rows, N_BYTES2, BITS2, BYTES)
    for document in range(first_document, tl.minimum(first_document + DOCUMENTS, n_docs)):
        ordinal = tl.load(ordinals + document)
        first = tl.load(offsets + ordinal)
        last = tl.load(offsets + ordinal + 1)
        maxima = tl.full((QUERIES,), float("-inf"), dtype=tl.float32)
        for start in range(first, last, TOKENS):
            # Beyond the last token that token is read again, which changes no maximum.
            rows = tl.minimum(start + tl.arange(0, TOKENS), last - 1)
            if JOINED:
                total = _joined_dot(plane0, plane1, tiles0, rows, N_BYTES0, TOKENS, QUERIES, BYTES, PTX)
            else:
                total = WEIGHT0 * _block_dot(
                    plane0, tiles0, rows,
                    ROW_BYTES0, FIRST_BYTE0, N_BYTES0, BITS0, TOKENS, QUERIES, BYTES, PTX,
                )  # fmt: skip
                if BITS1 > 0:
                    total += WEIGHT1 * _block_dot(
                        plane1, tiles1, rows,
                        ROW_BYTES1, FIRST_BYTE1, N_BYTES1, BITS1, TOKENS, QUERIES, BYTES, PTX,
                    )  # fmt: skip
                if BITS2 > 0:
                    total += WEIGHT2 * _block_dot(
                        plane2, tiles2, rows,
                        ROW_BYTES2, FIRST_BYTE2, N_BYTES2, BITS2, TOKENS, QUERIES, BYTES, PTX,
                    )  # fmt: skip
            width = tl.load(widths + rows).to(tl.float32)
            similarity = (2 * total + constant[None, :]).to(tl.float32) * width[:, None]
            maxima = tl.maximum(maxima, tl.max(similarity, axis=0))
        # The factor is a power of two, so it changes no order and rounds nothing.
        tl.store(best + document * n_rows + columns, maxima * (1.0 / (1 << (BITS + 1))))


@triton.jit(do_not_specialize=["n_docs", "n_rows", "row_stride"])  # type: ignore[untyped-decorator]
def _sum_kernel(  # type: ignore[no-untyped-def]
    ordinals,
    offsets,
    best,
    scales,
    ends,
    scores,
    n_docs,
    n_rows,
    row_stride,
    DOCUMENTS: tl.constexpr,
):
    """Maxima times scales, summed in order, of one query and some documents."""
    document = tl.program_id(1).to(tl.int64) * DOCUMENTS + tl.arange(0, DOCUMENTS)
    inside = document < n_docs
    ordinal = tl.load(ordinals + document, mask=inside, other=0)
    empty = tl.load(offsets + ordinal) == tl.load(offsets + ordinal + 1)
    query = tl.program_id(0)
    total = tl.zeros((DOCUMENTS,), dtype=tl.float64)
    for token in range(tl.load(ends + query), tl.load(ends + query + 1)):
        maxima = tl.load(best + document * n_rows + token, mask=inside, other=0.0)
        # The product of two float32 is exact in float64.
        total += maxima.to(tl.float64) * tl.load(scales + token).to(tl.float64)
    total = tl.where(empty, float("-inf"), total).to(tl.float32)
    tl.store(scores + query.to(tl.int64) * row_stride + document, total, mask=inside)
