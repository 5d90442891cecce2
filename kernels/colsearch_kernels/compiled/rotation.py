"""The rotation of tokens, a tile of LANES of them side by side.

A tile is read and written by its address, a dim's lanes at once: views of its rows would take longer than the
arithmetic.
"""

from colsearch_kernels.compiled.butterflies import butterfly, double_butterfly, scale_lanes
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import lay_into_lanes, read_f32, write_f32
from colsearch_kernels.runtime.tiers import LANES

# Of one dim of a tile, all lanes.
DIM_BYTES = 4 * LANES


@subroutine
def load_tile(vectors, n, dim, tile, n_dims):
    """Rows of (n, dim), n <= LANES, into the lanes of (n_dims, LANES), zeros around them."""
    if n == LANES:
        lay_into_lanes(vectors, 4 * dim, dim, tile, DIM_BYTES)
        first = LANES * dim
    else:
        first = 0
    for i in range(first, LANES * n_dims):
        write_f32(tile, i, 0.0)
    if n < LANES:
        for lane in range(n):
            for i in range(dim):
                write_f32(tile, LANES * i + lane, read_f32(vectors, lane * dim + i))


@subroutine
def _store_tile(tile, vectors, n, dim):
    for lane in range(n):
        for i in range(dim):
            write_f32(vectors, lane * dim + i, read_f32(tile, LANES * i + lane))


@subroutine
def _butterflies(at, n, step):
    """(a, b) -> (a + b, a - b) for the pairs `step` apart among n dims from an address on."""
    for group in range(0, n, 2 * step):
        for i in range(group, group + step):
            butterfly(at + DIM_BYTES * i, DIM_BYTES * step)


@subroutine
def _hadamard(at, block):
    """Butterflies of steps 1, 2, 4 and so on, two steps in one pass."""
    step = 1
    while 4 * step <= block:
        for group in range(0, block, 4 * step):
            for i in range(group, group + step):
                double_butterfly(at + DIM_BYTES * i, DIM_BYTES * step)
        step *= 4
    if step < block:
        _butterflies(at, block, step)


@subroutine
def _scale_tile(at, multipliers, n_dims):
    for i in range(n_dims):
        scale_lanes(at + DIM_BYTES * i, read_f32(multipliers, i))


@subroutine
def rotate_tile(tile, multipliers, n_rounds, n_dims, block):
    for i in range(n_rounds):
        _scale_tile(tile, multipliers + 4 * i * n_dims, n_dims)
        _hadamard(tile + DIM_BYTES * ((i % 2) * (n_dims - block)), block)
        if block < n_dims:
            _butterflies(tile, n_dims, n_dims // 2)


@subroutine
def _rotate_tile_back(tile, multipliers, n_rounds, n_dims, block):
    """Each step is symmetric and orthogonal, so its own inverse: the same steps in reverse order."""
    for i in range(n_rounds - 1, -1, -1):
        if block < n_dims:
            _butterflies(tile, n_dims, n_dims // 2)
        _hadamard(tile + DIM_BYTES * ((i % 2) * (n_dims - block)), block)
        _scale_tile(tile, multipliers + 4 * i * n_dims, n_dims)


def rotate_tiles(vectors, n, dim, multipliers, n_rounds, n_dims, block, tile, rotated):
    """vectors: (n, dim) float32; rotated: (n, n_dims) float32; tile: scratch of (n_dims, LANES) float32."""
    for first in range(0, n, LANES):
        n_here = min(LANES, n - first)
        load_tile(vectors + 4 * first * dim, n_here, dim, tile, n_dims)
        rotate_tile(tile, multipliers, n_rounds, n_dims, block)
        _store_tile(tile, rotated + 4 * first * n_dims, n_here, n_dims)


def rotate_back_tiles(rotated, n, multipliers, n_rounds, n_dims, block, tile, vectors, dim):
    for first in range(0, n, LANES):
        n_here = min(LANES, n - first)
        load_tile(rotated + 4 * first * n_dims, n_here, n_dims, tile, n_dims)
        _rotate_tile_back(tile, multipliers, n_rounds, n_dims, block)
        _store_tile(tile, vectors + 4 * first * dim, n_here, dim)
