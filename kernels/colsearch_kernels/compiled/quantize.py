"""Codes of documents and queries, a tile of LANES tokens side by side."""

import numpy as np

from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import read_f32, read_i8, read_i64, sqrt_f32, write_f32, write_i8
from colsearch_kernels.compiled.grids import cells, extents, nearest, pack, projections, to_rows
from colsearch_kernels.compiled.rotation import DIM_BYTES, load_tile, rotate_tile
from colsearch_kernels.layout.codes import QUERY_MAX
from colsearch_kernels.runtime.tiers import LANES


@subroutine
def _spread(lanes, n_bytes, rows, n, row_bytes):
    """The bytes of each lane into its row, of n rows."""
    n_blocks = n_bytes // LANES if n == LANES else 0
    to_rows(lanes, n_blocks, rows, row_bytes)
    for lane in range(n):
        for i in range(LANES * n_blocks, n_bytes):
            write_i8(rows, lane * row_bytes + i, read_i8(lanes, LANES * i + lane))


def query_tiles(
    vectors, n, dim, multipliers, n_rounds, n_dims, block, values, scales, scratch
):  # fmt: skip
    """Rotated and put on the grid -63..63; returns how many tokens are not finite: their scale is NaN.

    vectors: (n, dim) float32; values: (n, n_dims) int8; scales: (n,) float32; scratch: n_dims times LANES float32
    and as many bytes, and three times LANES float32.
    """
    integers = scratch + DIM_BYTES * n_dims
    largest = integers + LANES * n_dims
    # Over the squares, which queries have no use for.
    divisors, not_finite = largest + DIM_BYTES, largest + 2 * DIM_BYTES
    grid = np.float32(QUERY_MAX)
    n_wrong = 0
    for first in range(0, n, LANES):
        n_here = min(LANES, n - first)
        load_tile(vectors + 4 * first * dim, n_here, dim, scratch, n_dims)
        rotate_tile(scratch, multipliers, n_rounds, n_dims, block)
        extents(scratch, n_dims, largest)
        for lane in range(LANES):
            scale = read_f32(largest, lane) / grid
            write_f32(divisors, lane, scale if scale > 0 else np.float32(np.inf))
            if lane < n_here:
                scale += read_f32(not_finite, lane)
                write_f32(scales, first + lane, scale)
                # Twice infinity is no less; NaN compares with nothing.
                n_wrong += not scale < np.float32(np.inf)
        nearest(scratch, n_dims, divisors, grid, integers)
        _spread(integers, n_dims, values + first * n_dims, n_here, n_dims)
    return n_wrong


def encode_tiles(
    vectors, n, dim, multipliers, n_rounds, n_dims, block, prefix_bits, n_planes, span_factor: np.float32,
    rms_factor: np.float32, blocks, n_blocks, plane0, plane1, widths, scratch,
):  # fmt: skip
    """Planes and widths (n_planes, n) float32 of vectors.

    prefix_bits: (n_planes,) int64; blocks: (n_blocks, 4) int64; scratch: n_dims times LANES float32 and twice as
    many bytes, and four times LANES float32.
    """
    integers = scratch + DIM_BYTES * n_dims
    packed = integers + LANES * n_dims
    largest = packed + LANES * n_dims
    squares, lanes = largest + DIM_BYTES, largest + 3 * DIM_BYTES
    n_bits = read_i64(prefix_bits, n_planes - 1)
    n_cells = np.float32(1 << n_bits)
    for first in range(0, n, LANES):
        n_here = min(LANES, n - first)
        load_tile(vectors + 4 * first * dim, n_here, dim, scratch, n_dims)
        rotate_tile(scratch, multipliers, n_rounds, n_dims, block)
        extents(scratch, n_dims, largest)
        for lane in range(LANES):
            rms = sqrt_f32(read_f32(squares, lane) / np.float32(n_dims))
            width = min(span_factor * read_f32(largest, lane), rms_factor * rms)
            write_f32(lanes, lane, n_cells / width if width > np.float32(0) else np.float32(0))
        cells(scratch, n_dims, lanes, n_cells, integers)
        for plane in range(n_planes):
            bits = read_i64(prefix_bits, plane)
            n_prefix_cells = np.float32(1 << bits)
            middle = np.float32(0.5) * (n_prefix_cells - np.float32(1))
            projections(scratch, n_dims, integers, n_bits - bits, middle, lanes)
            for lane in range(n_here):
                projection = read_f32(lanes, lane)
                # Not `> 0`: the width of a row with NaN must be NaN.
                width = np.float32(0)
                if projection != np.float32(0):
                    width = n_prefix_cells * (read_f32(squares, lane) / projection)
                write_f32(widths, plane * n + first + lane, width)
        for b in range(n_blocks):
            row = blocks + 32 * b
            plane, first_byte, shift, bits = (
                read_i64(row, 0),
                read_i64(row, 1),
                read_i64(row, 2),
                read_i64(row, 3),
            )
            plane_bits = n_bits - read_i64(prefix_bits, 0) if plane else read_i64(prefix_bits, 0)
            row_bytes = n_dims * plane_bits // 8
            pack(integers, n_dims, shift, bits, packed)
            to = (plane1 if plane else plane0) + first * row_bytes + first_byte
            _spread(packed, n_dims * bits // 8, to, n_here, row_bytes)
