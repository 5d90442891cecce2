"""Codes of documents and queries, a tile of LANES tokens side by side."""

import numpy as np

from colsearch_kernels.arguments import F32, I8, U8, CodeGrid, EncodedPlanes, Rotation
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import (
    Address,
    read_f32,
    read_i8,
    read_i64,
    sqrt_f32,
    write_f32,
    write_i8,
)
from colsearch_kernels.compiled.grids import cells, extents, nearest, pack, projections, to_rows
from colsearch_kernels.compiled.rotation import load_tile, rotate_tile
from colsearch_kernels.layout.codes import QUERY_MAX
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES


@subroutine
def _spread(lanes: Address, n_bytes: int, rows: Address, n: int, row_bytes: int) -> None:
    """Copy the bytes of each lane into the row of its token; n rows."""
    n_blocks = n_bytes // LANES if n == LANES else 0
    to_rows(lanes, n_blocks, rows, row_bytes)
    for lane in range(n):
        for i in range(LANES * n_blocks, n_bytes):
            write_i8(rows, lane * row_bytes + i, read_i8(lanes, LANES * i + lane))


def query_tiles(
    vectors: F32, n: int, dim: int, rotation: Rotation, values: I8, scales: F32, scratch: U8
) -> int:
    """Rotate tokens and put them on the grid -63..63; returns how many are not finite: their scale is NaN.

    vectors: (n, dim) float32; values: (n, n_dims) int8; scales: (n,) float32; scratch: n_dims times LANES float32
    and as many bytes, and three times LANES float32.
    """
    n_dims = rotation.n_dims
    integers = scratch + VECTOR_BYTES * n_dims
    largest = integers + LANES * n_dims
    # The divisors reuse the place of the sums of squares, which queries do not need.
    divisors, not_finite = largest + VECTOR_BYTES, largest + 2 * VECTOR_BYTES
    grid = np.float32(QUERY_MAX)
    n_wrong = 0
    for first in range(0, n, LANES):
        n_present = min(LANES, n - first)
        load_tile(vectors + 4 * first * dim, n_present, dim, scratch, n_dims)
        rotate_tile(scratch, rotation)
        extents(scratch, n_dims, largest)
        for lane in range(LANES):
            scale = read_f32(largest, lane) / grid
            write_f32(divisors, lane, scale if scale > 0 else np.float32(np.inf))
            if lane < n_present:
                scale += read_f32(not_finite, lane)
                write_f32(scales, first + lane, scale)
                # Infinity is not below infinity, and NaN is below nothing.
                n_wrong += not scale < np.float32(np.inf)
        nearest(scratch, n_dims, divisors, grid, integers)
        _spread(integers, n_dims, values + first * n_dims, n_present, n_dims)
    return n_wrong


def encode_tiles(
    vectors: F32, n: int, dim: int, rotation: Rotation, grid: CodeGrid, output: EncodedPlanes, scratch: U8
) -> None:
    """Planes and widths of vectors, (n, dim) float32.

    scratch: n_dims times LANES float32 and twice as many bytes, and four times LANES float32.
    """
    n_dims = rotation.n_dims
    integers = scratch + VECTOR_BYTES * n_dims
    packed = integers + LANES * n_dims
    largest = packed + LANES * n_dims
    squares, lanes = largest + VECTOR_BYTES, largest + 3 * VECTOR_BYTES
    n_bits = read_i64(grid.prefix_bits, grid.n_planes - 1)
    n_cells = np.float32(1 << n_bits)
    for first in range(0, n, LANES):
        n_present = min(LANES, n - first)
        load_tile(vectors + 4 * first * dim, n_present, dim, scratch, n_dims)
        rotate_tile(scratch, rotation)
        extents(scratch, n_dims, largest)
        for lane in range(LANES):
            rms = sqrt_f32(read_f32(squares, lane) / np.float32(n_dims))
            width = min(grid.span_factor * read_f32(largest, lane), grid.rms_factor * rms)
            write_f32(lanes, lane, n_cells / width if width > np.float32(0) else np.float32(0))
        cells(scratch, n_dims, lanes, n_cells, integers)
        for plane in range(grid.n_planes):
            bits = read_i64(grid.prefix_bits, plane)
            n_prefix_cells = np.float32(1 << bits)
            middle = np.float32(0.5) * (n_prefix_cells - np.float32(1))
            projections(scratch, n_dims, integers, n_bits - bits, middle, lanes)
            for lane in range(n_present):
                projection = read_f32(lanes, lane)
                # Not `> 0`: the width of a row with NaN must be NaN.
                width = np.float32(0)
                if projection != np.float32(0):
                    width = n_prefix_cells * (read_f32(squares, lane) / projection)
                write_f32(output.widths, plane * n + first + lane, width)
        first_plane_bits = read_i64(grid.prefix_bits, 0)
        for b in range(grid.n_blocks):
            # A row of blocks is a `codes.StoredBlock`.
            block = grid.blocks + 32 * b
            plane, first_byte = read_i64(block, 0), read_i64(block, 1)
            bits_below, bits = read_i64(block, 2), read_i64(block, 3)
            row_bytes = n_dims * (n_bits - first_plane_bits if plane else first_plane_bits) // 8
            pack(integers, n_dims, bits_below, bits, packed)
            to = (output.plane1 if plane else output.plane0) + first * row_bytes + first_byte
            _spread(packed, n_dims * bits // 8, to, n_present, row_bytes)
