"""Token vectors as float16, not rotated: four times the bytes of 4 bits, for reference rankings."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from colsearch.codecs.encoded import BytesPerToken, EncodedTokens, checked_vectors
from colsearch.errors import ConfigError, FormatError, ShapeError, VectorError
from colsearch.types import F32


@dataclass(frozen=True, slots=True)
class Float16Codec:
    """One plane of 2 * dim bytes, little-endian float16, and no widths; scored by the float kernels."""

    name: ClassVar[str] = "float16"
    planes: ClassVar[tuple[int, ...]] = (16,)

    dim: int

    def __post_init__(self) -> None:
        if type(self.dim) is not int or self.dim < 1:
            raise ConfigError(f"dim must be a positive integer, not {self.dim!r}")

    def encode(self, vectors: F32) -> EncodedTokens:
        """Raises: ShapeError for another dtype or dim, VectorError naming the first row that does not fit."""
        vectors = checked_vectors(vectors, self.dim)
        with np.errstate(over="ignore"):
            halves = vectors.astype("<f2")
        bad = np.flatnonzero(~np.isfinite(halves).all(axis=1) | ~halves.any(axis=1))
        if len(bad):
            raise VectorError(
                f"token vector {bad[0]} holds NaN or infinity, is zero, or leaves float16: "
                "leave it out or normalise the vectors"
            )
        return EncodedTokens((halves.view(np.uint8),), ())

    def decode(self, encoded: EncodedTokens, n_planes: int | None = None) -> F32:
        """(n_tokens, dim) float32."""
        if n_planes not in (None, 1):
            raise ShapeError(f"float16 storage has 1 plane, not {n_planes}")
        return encoded.planes[0].view("<f2").astype(np.float32)

    def prepare_query(self, query: F32) -> F32:
        """The query itself, checked: float scoring needs no other form."""
        query = checked_vectors(query, self.dim)
        if len(query) == 0 or not np.isfinite(query).all():
            raise VectorError("the query has no tokens, or holds NaN or infinity")
        return query

    @property
    def bytes_per_token(self) -> BytesPerToken:
        return BytesPerToken(memory=2 * self.dim, disk=2 * self.dim)

    def to_json(self) -> dict[str, Any]:
        return {"codec": self.name, "version": 1, "dim": self.dim, "planes": [16]}

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> "Float16Codec":
        """Raises: FormatError: for settings of another codec or version."""
        if settings.get("codec") != cls.name or settings.get("version") != 1 or "dim" not in settings:
            raise FormatError(f"not settings of float16 storage version 1: {settings!r}")
        return cls(settings["dim"])
