"""One query against documents of several segments, a few at a time: what following a list of candidates takes.

All that does not change from block to block is prepared once: addresses of the documents, the query's lanes.
"""

from collections.abc import Sequence

import numpy as np

from colsearch_kernels import integer, pool, reference
from colsearch_kernels.codes import F32, I64, Codes, QuantizedQuery, address
from colsearch_kernels.emit import LANES
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.packing import PackedQueries, Rows, aligned_block
from colsearch_kernels.scoring import NS_PER_PAIR, checked_ordinals


class Scattered:
    """Where the documents of several segments lie, 8 * (3 or 5) bytes each, numbered one segment after another.

    Attributes:
        n_docs: of all segments.
        doclens: (n_docs,) int64.
    Raises: KernelInputError: if the segments are not of one codec.
    """

    def __init__(self, segments: Sequence[Codes]) -> None:
        if not segments:
            raise KernelInputError("there are no segments")
        first = segments[0]
        if any((one.plane_bits, one.padded_dim) != (first.plane_bits, first.padded_dim) for one in segments):
            raise KernelInputError("the segments have different planes or dims")
        # Keeps the memory of the addresses alive.
        self._segments = tuple(segments)
        self.plane_bits, self.padded_dim = first.plane_bits, first.padded_dim
        self.doclens = np.concatenate([codes.doclens for codes in segments])
        self.n_docs = len(self.doclens)
        n_planes = len(self.plane_bits)
        self._planes = [self._addresses([c.planes[i] for c in segments]) for i in range(n_planes)]
        self._widths = [self._addresses([c.widths[i] for c in segments]) for i in range(n_planes)]

    def _addresses(self, arrays: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> I64:
        return np.concatenate(
            [
                address(array) + codes.offsets[:-1] * (array.nbytes // max(len(array), 1))
                for array, codes in zip(arrays, self._segments)
            ]
        )

    def rows(self, n_planes: int) -> Rows:
        """What `Rows` says of every document; of the addresses, tables of them."""
        any_of = Rows.of_codes(self._segments[0], n_planes)
        return Rows(
            layout=any_of.layout,
            plane0=address(self._planes[0]),
            plane1=address(self._planes[n_planes - 1]),
            bytes0=any_of.bytes0,
            bytes1=any_of.bytes1,
            widths=address(self._widths[n_planes - 1]),
            scale=any_of.scale,
            offsets=address(self.doclens),
            n_dims=any_of.n_dims,
            center=any_of.center,
        )


class ScatteredScorer:
    """MaxSim of one query with documents of a `Scattered`, the same numbers as `score_codes` gives.

    Args:
        n_planes: how many planes to read; None for all of them.
    Raises: KernelInputError.
    """

    def __init__(self, query: QuantizedQuery, documents: Scattered, *, n_planes: int | None = None) -> None:
        n_planes = reference.checked_n_planes(n_planes, documents.plane_bits)
        if query.padded_dim != documents.padded_dim:
            raise KernelInputError(
                f"the query has padded dim {query.padded_dim}, the documents have {documents.padded_dim}"
            )
        self._documents = documents
        self._rows = documents.rows(n_planes)
        self._packed = PackedQueries([query], self._rows)

    def score(self, numbers: I64, *, n_threads: int = 1) -> F32:
        """(n,) float32 MaxSim of the documents of these numbers; -inf for one without tokens."""
        rows, packed = self._rows, self._packed
        order = np.ascontiguousarray(checked_ordinals(numbers, self._documents.n_docs))
        scores = np.empty(len(order), np.float32)
        order_at, scores_at = address(order), address(scores)

        def run(first: int, last: int) -> None:
            _memory, scratch = aligned_block(integer.scratch_bytes(rows.n_dims, packed.n_vectors))
            integer.score_pieces(  # type: ignore[no-untyped-call]
                rows.layout, rows.plane0, rows.plane1, rows.bytes0, rows.bytes1, rows.widths, rows.scale,
                rows.offsets, order_at, first, last, rows.n_dims, packed.values, packed.initial, packed.scales,
                packed.n_vectors, scratch, scores_at,
            )  # fmt: skip

        doclens = self._documents.doclens[order]
        pool.run_documents(
            run, doclens, ns_per_token=NS_PER_PAIR * LANES * packed.n_vectors, n_threads=n_threads
        )
        bad = ~np.isfinite(scores)
        if bad.any() and (doclens[bad] > 0).any():
            raise KernelInputError("documents of those scored have widths that are not finite")
        return scores
