"""The rotation of tokens, a tile of LANES of them side by side.

Tiles are read and written by address, all lanes of a dim at once: NumPy views of its rows would take longer than the
arithmetic.
"""

from colsearch_kernels.arguments import F32, U8, Rotation
from colsearch_kernels.compiled.butterflies import butterfly, double_butterfly, scale_lanes
from colsearch_kernels.compiled.compiler import subroutine
from colsearch_kernels.compiled.emit import Address, lay_into_lanes, read_f32, write_f32
from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES


@subroutine
def load_tile(vectors: Address, n: int, dim: int, tile: Address, n_dims: int) -> None:
    """Lay rows of (n, dim), n <= LANES, into the lanes of (n_dims, LANES), with zeros in the rest."""
    if n == LANES:
        lay_into_lanes(vectors, 4 * dim, dim, tile, VECTOR_BYTES)
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
def _store_tile(tile: Address, vectors: Address, n: int, dim: int) -> None:
    for lane in range(n):
        for i in range(dim):
            write_f32(vectors, lane * dim + i, read_f32(tile, LANES * i + lane))


@subroutine
def _butterflies(at: Address, n: int, step: int) -> None:
    """(a, b) -> (a + b, a - b) for the pairs `step` apart among n dims from an address on."""
    for group in range(0, n, 2 * step):
        for i in range(group, group + step):
            butterfly(at + VECTOR_BYTES * i, VECTOR_BYTES * step)


@subroutine
def _hadamard(at: Address, block: int) -> None:
    """Butterflies of steps 1, 2, 4 and so on, two steps in one pass."""
    step = 1
    while 4 * step <= block:
        for group in range(0, block, 4 * step):
            for i in range(group, group + step):
                double_butterfly(at + VECTOR_BYTES * i, VECTOR_BYTES * step)
        step *= 4
    if step < block:
        _butterflies(at, block, step)


@subroutine
def _scale_tile(at: Address, multipliers: Address, n_dims: int) -> None:
    for i in range(n_dims):
        scale_lanes(at + VECTOR_BYTES * i, read_f32(multipliers, i))


@subroutine
def rotate_tile(tile: Address, rotation: Rotation) -> None:
    n_dims, block = rotation.n_dims, rotation.block
    for i in range(rotation.n_rounds):
        _scale_tile(tile, rotation.multipliers + 4 * i * n_dims, n_dims)
        _hadamard(tile + VECTOR_BYTES * ((i % 2) * (n_dims - block)), block)
        if block < n_dims:
            _butterflies(tile, n_dims, n_dims // 2)


@subroutine
def _rotate_tile_back(tile: Address, rotation: Rotation) -> None:
    """Each step is symmetric and orthogonal, so its own inverse: the same steps in reverse order."""
    n_dims, block = rotation.n_dims, rotation.block
    for i in range(rotation.n_rounds - 1, -1, -1):
        if block < n_dims:
            _butterflies(tile, n_dims, n_dims // 2)
        _hadamard(tile + VECTOR_BYTES * ((i % 2) * (n_dims - block)), block)
        _scale_tile(tile, rotation.multipliers + 4 * i * n_dims, n_dims)


def rotate_tiles(vectors: F32, n: int, dim: int, rotation: Rotation, tile: U8, rotated: F32) -> None:
    """vectors: (n, dim) float32; tile: scratch of (n_dims, LANES) float32; rotated: (n, n_dims) float32."""
    n_dims = rotation.n_dims
    for first in range(0, n, LANES):
        n_present = min(LANES, n - first)
        load_tile(vectors + 4 * first * dim, n_present, dim, tile, n_dims)
        rotate_tile(tile, rotation)
        _store_tile(tile, rotated + 4 * first * n_dims, n_present, n_dims)


def rotate_back_tiles(rotated: F32, n: int, rotation: Rotation, tile: U8, vectors: F32, dim: int) -> None:
    """The inverse of `rotate_tiles`; the arrays are of the same shapes."""
    n_dims = rotation.n_dims
    for first in range(0, n, LANES):
        n_present = min(LANES, n - first)
        load_tile(rotated + 4 * first * n_dims, n_present, n_dims, tile, n_dims)
        _rotate_tile_back(tile, rotation)
        _store_tile(tile, vectors + 4 * first * dim, n_present, dim)
