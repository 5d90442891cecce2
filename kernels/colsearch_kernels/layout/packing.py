"""What the integer kernel is handed: addresses of document rows, and queries laid into SIMD lanes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colsearch_kernels.layout.codes import F32, I8, I64, U8, Codes, QuantizedQuery, address
from colsearch_kernels.runtime.native import Kernel
from colsearch_kernels.runtime.tiers import LANES, tier

# What the rows of a segment are; the kernel is compiled for all of them.
BYTES, BITS_4, BITS_2, BITS_1, BITS_4_4, BITS_2_6, SIGNED = range(7)
_LAYOUTS = {(8,): BYTES, (4,): BITS_4, (2,): BITS_2, (1,): BITS_1, (4, 4): BITS_4_4, (2, 6): BITS_2_6}
_pack_query = Kernel("integer.pack_query")


@dataclass(frozen=True, slots=True)
class Rows:
    """Where document rows lie in memory. Whoever makes one keeps the arrays alive.

    Attributes:
        layout: of a row, one of the numbers above.
        plane0, plane1, widths, offsets: addresses; offsets is of n_docs + 1 int64.
        bytes0, bytes1: of a row in each plane; bytes1 is 0 without a second plane.
        scale: what the widths are multiplied by.
        n_dims: of a row as the tile reads it, a multiple of 4.
        center: twice what a dim's value is lowered by: similarity = (2 * sum(q * u) - center * sum(q)) * width.
    """

    layout: int
    plane0: int
    plane1: int
    bytes0: int
    bytes1: int
    widths: int
    scale: float
    offsets: int
    n_dims: int
    center: int

    @classmethod
    def of_codes(cls, codes: Codes, n_planes: int) -> "Rows":
        """Made once for each number of planes."""
        made = codes.rows.get(n_planes)
        if made is None:
            made = codes.rows[n_planes] = cls._of_codes(codes, n_planes)
        return made

    @classmethod
    def _of_codes(cls, codes: Codes, n_planes: int) -> "Rows":
        bits = sum(codes.plane_bits[:n_planes])
        planes, widths, offsets = codes.addresses
        first, last = codes.planes[0], codes.planes[n_planes - 1]
        return cls(
            layout=_LAYOUTS[codes.plane_bits[:n_planes]],
            plane0=planes[0],
            plane1=planes[n_planes - 1],
            bytes0=first.shape[1],
            bytes1=last.shape[1] if n_planes == 2 else 0,
            widths=widths[n_planes - 1],
            scale=2.0 ** -(bits + 1),
            offsets=offsets,
            n_dims=codes.padded_dim,
            center=(1 << bits) - 1,
        )

    @classmethod
    def of_bytes(cls, vectors: I8, scales: F32, offsets: I64) -> "Rows":
        """Signed bytes v, stored as they are and scored as u = v + 128: 2 * v = 2 * u - 256."""
        return cls(
            layout=SIGNED,
            plane0=address(vectors),
            plane1=address(vectors),
            bytes0=vectors.shape[1],
            bytes1=0,
            widths=address(scales),
            scale=0.5,
            offsets=address(offsets),
            n_dims=-(-vectors.shape[1] // 4) * 4,
            center=256,
        )


class PackedQueries:
    """Queries side by side in one block of memory, each from a vector of 16 lanes of its own on.

    Attributes:
        n_queries, n_vectors: how many.
        values: address of (n_vectors, 16 * n_dims) int8, in the order that tiles read.
        initial: address of (n_vectors, 16) int32, the first values of the sums.
        scales: address of (n_vectors, 16) float32, 0 where no query token is.
        starts: address of (n_queries + 1,) int64, the first vector of each query.
        scratch: address of what a kernel over codes writes to; for one thread.
    """

    def __init__(self, queries: Sequence[QuantizedQuery], rows: Rows) -> None:
        self.n_queries = len(queries)
        self.n_vectors = sum([-(len(query) // -LANES) for query in queries])
        n_value_bytes = self.n_vectors * LANES * rows.n_dims
        n_start_bytes = -(-(8 * len(queries) + 8) // 64) * 64
        n_bytes = n_value_bytes + 128 * self.n_vectors + n_start_bytes
        self._memory, self.values = aligned_block(n_bytes + scratch_bytes(rows.n_dims, self.n_vectors))
        self.scratch = self.values + n_bytes
        self.initial = self.values + n_value_bytes
        self.scales = self.initial + 64 * self.n_vectors
        self.starts = self.scales + 64 * self.n_vectors
        first_vector = 0
        for i, query in enumerate(queries):
            values, scales = query.addresses
            first_vector = _pack_query(
                values, scales, len(query), rows.n_dims, rows.center, i, first_vector, self.n_vectors,
                self.values, self.initial, self.scales, self.starts,
            )  # fmt: skip

    @property
    def arguments(self) -> tuple[int, int, int, int]:
        """As most kernels take them."""
        return self.values, self.initial, self.scales, self.n_vectors


def aligned_block(n_bytes: int, *, zeroed: bool = False) -> tuple[U8, int]:
    """Memory, and an address within it, on a 64-byte boundary, that n_bytes lie behind."""
    memory = (np.zeros if zeroed else np.empty)(n_bytes + 63, np.uint8)
    return memory, -(-address(memory) // 64) * 64


def scratch_bytes(n_dims: int, n_vectors: int) -> int:
    """What a kernel over codes needs: maxima, widths and rows of one tile."""
    return 64 * n_vectors + 64 + tier().tile * n_dims
