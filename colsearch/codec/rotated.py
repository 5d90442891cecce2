"""Bit planes on a rotated uniform grid, with an unbiased width per token; nothing to train."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colsearch.codec.encoded import U16, EncodedTokens, checked_vectors
from colsearch.errors import ConfigError, DamagedError, VectorError
from colsearch.types import F32, I64, U8
from colsearch_kernels.arguments import MAX_PADDED_DIM
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout import quantize
from colsearch_kernels.layout.codes import (
    FIRST_BAD_WIDTH_BITS,
    PLANE_BITS,
    Codes,
    QuantizedQuery,
    padded_dim,
)

DEFAULT_SEED = 20260
# float16 holds widths from 2**-14 (below, digits are lost) to 65504; a width is 3 to 8 times the root mean
# square of a token's coordinates, so norms from about .001 to 50,000 fit at the usual dims.
_SMALLEST_WIDTH_BITS = 0x0400


@dataclass(frozen=True, slots=True)
class RotatedCodec:
    """Codec of format 1: `colsearch_kernels.layout.codes` says what the bytes mean.

    Attributes:
        dim: of the token vectors.
        planes: bits per plane, one of (8,), (4,), (2,), (1,), (4, 4), (2, 6). The first plane scores
            candidates from memory, the second refines the best of them.
        seed: of the rotation.
    Raises: ConfigError: for any other value.
    """

    dim: int
    planes: tuple[int, ...] = (4, 4)
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if self.planes not in PLANE_BITS:
            allowed = ", ".join(map(str, PLANE_BITS))
            raise ConfigError(f"planes must be one of {allowed}, not {self.planes!r}")
        if type(self.dim) is not int or not 1 <= self.dim <= MAX_PADDED_DIM:
            raise ConfigError(f"dim must be an integer of 1..{MAX_PADDED_DIM}, not {self.dim!r}")
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be an integer of 0..2**63 - 1, not {self.seed!r}")

    def encode(self, vectors: F32) -> EncodedTokens:
        """Codes of token vectors; a vector has the same code in any batch and on any machine.

        Args:
            vectors: (n_tokens, dim) float32.
        Raises:
            ShapeError: for another dtype or dim.
            VectorError: naming the first row that is not finite, zero, or of a norm that float16 cannot hold.
        """
        vectors = checked_vectors(vectors, self.dim)
        planes, widths = quantize.encode(vectors, self.planes, self.seed)
        for width in widths:
            # A row that cannot be coded shows in its width, which is cheaper than looking at the vectors.
            bad = np.flatnonzero((width < _SMALLEST_WIDTH_BITS) | (width >= FIRST_BAD_WIDTH_BITS))
            if len(bad):
                raise _row_error(vectors, int(bad[0]))
        return EncodedTokens(planes, widths)

    def decode(self, encoded: EncodedTokens, n_planes: int | None = None) -> F32:
        """(n_tokens, dim) float32 that the first `n_planes` planes (all if None) stand for."""
        return quantize.decode(
            encoded.planes, encoded.widths, self.planes, dim=self.dim, seed=self.seed, n_planes=n_planes
        )

    def prepare_query(self, query: F32) -> QuantizedQuery:
        """The query as the kernels take it: rotated like the documents, 7 bits a value.

        Args:
            query: (n_query_tokens, dim) float32, at least one token; a token of zeros counts for nothing.
        Raises: ShapeError, VectorError.
        """
        query = checked_vectors(query, self.dim)
        if len(query) == 0:
            raise VectorError("the query has no tokens")
        try:
            return quantize.quantize_query(query, self.planes, self.seed)
        except KernelInputError:
            # A token that is not finite, or becomes so when it is rotated: the one of the largest norm.
            norms = np.square(query.astype(np.float64)).sum(axis=1)
            worst = int(np.argmax(np.where(np.isfinite(norms), norms, np.inf)))
            raise _row_error(query, worst) from None

    def codes(self, planes: Sequence[U8], widths: Sequence[U16], offsets: I64) -> Codes:
        """Stored planes, widths and token offsets as the kernels take them; checked, not copied.

        Raises: DamagedError: if they are not what this codec writes.
        """
        try:
            return Codes(self.dim, self.planes, tuple(planes), tuple(widths), offsets)
        except KernelInputError as error:
            raise DamagedError(
                f"stored codes are not of this codec: {error}; run `colsearch check`"
            ) from None

    @property
    def padded_dim(self) -> int:
        """Dims of a code: `dim` rounded up so that the planes' rows are whole words."""
        return padded_dim(self.dim, self.planes)


def _row_error(vectors: F32, row: int) -> VectorError:
    vector = vectors[row].astype(np.float64)
    if not np.isfinite(vector).all():
        return VectorError(f"token vector {row} holds NaN or infinity; leave that text out")
    norm = float(np.sqrt(vector @ vector))
    if norm == 0:
        return VectorError(f"token vector {row} is all zeros; leave that token out")
    return VectorError(
        f"token vector {row} has norm {norm:.3g}; codes hold .001 to 50,000: normalise the vectors"
    )
