"""Bit planes on a rotated uniform grid, with an unbiased width per token; nothing to train."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from colsearch.config import DEFAULT_PLANES, DEFAULT_SEED, IndexConfig
from colsearch.errors import ConfigError, DamagedError, ShapeError, VectorError
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

U16: TypeAlias = NDArray[np.uint16]

# float16 holds widths from 2**-14 (smaller ones lose digits) to 65504. A width is 3 to 8 times the root mean
# square of a token's coordinates, so norms from about .001 to 50,000 fit at the usual dims.
_SMALLEST_WIDTH_BITS = 0x0400


@dataclass(frozen=True, slots=True)
class EncodedTokens:
    """Codes of tokens, document after document.

    Attributes:
        planes: per plane (n_tokens, n_bytes) uint8.
        widths: per plane (n_tokens,) uint16, the bits of a float16.
    """

    planes: tuple[U8, ...]
    widths: tuple[U16, ...]

    def __len__(self) -> int:
        return len(self.planes[0])


@dataclass(frozen=True, slots=True)
class RotatedCodec:
    """The codec of format 1; `colsearch_kernels.layout.codes` describes its bytes.

    Attributes:
        dim: length of the token vectors.
        planes: bits per plane, one of (8,), (4,), (2,), (1,), (4, 4), (2, 6). The first plane scores
            candidates from memory; the second refines the scores of the best.
        seed: determines the rotation, from 0 to 2**63 - 1.
    Raises: ConfigError: for any other value.
    """

    dim: int
    planes: tuple[int, ...] = DEFAULT_PLANES
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if self.planes not in PLANE_BITS:
            allowed = ", ".join(map(str, PLANE_BITS))
            raise ConfigError(f"planes must be one of {allowed}, not {self.planes!r}")
        if type(self.dim) is not int or not 1 <= self.dim <= MAX_PADDED_DIM:
            raise ConfigError(f"dim must be an integer of 1..{MAX_PADDED_DIM}, not {self.dim!r}")
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be an integer of 0..2**63 - 1, not {self.seed!r}")

    @classmethod
    def from_config(cls, config: IndexConfig) -> "RotatedCodec":
        """Raises: ConfigError: for planes or a seed that no codec has."""
        return cls(config.dim, config.planes, config.seed)

    def encode(self, vectors: F32) -> EncodedTokens:
        """Codes of token vectors; a vector has the same code in any batch and on any machine.

        Args:
            vectors: (n_tokens, dim) float32.
        Raises:
            ShapeError: for another dtype or dim.
            VectorError: naming the first row that has NaN or infinity, is all zeros, or has a norm that
                float16 cannot hold.
        """
        self._check_shape(vectors)
        planes, widths = quantize.encode(vectors, self.planes, self.seed)
        for width in widths:
            # The width of a row that cannot be coded is out of range. Testing widths is cheaper than vectors.
            bad = np.flatnonzero((width < _SMALLEST_WIDTH_BITS) | (width >= FIRST_BAD_WIDTH_BITS))
            if len(bad):
                raise _row_error(vectors, int(bad[0]))
        return EncodedTokens(planes, widths)

    def decode(self, encoded: EncodedTokens, n_planes: int | None = None) -> F32:
        """(n_tokens, dim) float32 vectors that the first `n_planes` planes stand for; all planes if None."""
        return quantize.decode(
            encoded.planes, encoded.widths, self.planes, dim=self.dim, seed=self.seed, n_planes=n_planes
        )

    def prepare_query(self, query: F32) -> QuantizedQuery:
        """The query as the kernels take it: rotated as the documents are, 7 bits per value.

        Args:
            query: (n_query_tokens, dim) float32, at least one token; a token of zeros adds 0 to every score.
        Raises:
            ShapeError: for another dtype or dim.
            VectorError: if there are no tokens, or one holds NaN, infinity or too large numbers.
        """
        self._check_shape(query)
        if len(query) == 0:
            raise VectorError("the query has no tokens")
        try:
            return quantize.quantize_query(query, self.planes, self.seed)
        except KernelInputError:
            # The token at fault is not finite, or its rotation is not: it has the largest norm.
            norms = np.square(query.astype(np.float64)).sum(axis=1)
            worst = int(np.argmax(np.where(np.isfinite(norms), norms, np.inf)))
            raise _row_error(query, worst) from None

    def codes(self, planes: Sequence[U8], widths: Sequence[U16], offsets: I64) -> Codes:
        """Stored planes, widths and token offsets as the kernels take them; checked, not copied.

        Args:
            planes, widths: as in `EncodedTokens`.
            offsets: (n_docs + 1,) first token of each document, then the number of tokens.
        Raises: DamagedError: if this codec cannot have written them.
        """
        try:
            return Codes(self.dim, self.planes, tuple(planes), tuple(widths), offsets)
        except KernelInputError as error:
            raise DamagedError(
                f"the stored codes are not what this codec writes: {error}; run `colsearch check`"
            ) from None

    @property
    def padded_dim(self) -> int:
        """`dim` rounded up so that each row of a plane is made of whole words."""
        return padded_dim(self.dim, self.planes)

    def _check_shape(self, vectors: F32) -> None:
        """Refuse arrays of another dtype or dim.

        Vectors that users give were checked by `ingest`. What an encoder returns was not, and the kernels
        take vectors of any dim.
        """
        if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
            found = vectors.dtype.str if isinstance(vectors, np.ndarray) else type(vectors).__name__
            raise ShapeError(f"token vectors must be a float32 array, not {found}")
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ShapeError(
                f"token vectors have shape {vectors.shape}, the codec takes (n_tokens, {self.dim}); "
                "was another encoder used?"
            )


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
