"""Settings that are fixed when an index is created, as plain values, and defaults that several rooms share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from colsearch.errors import ConfigError

MAX_DIM = 4096
# The seed of everything that is random: the codec's rotation, samples, k-means.
DEFAULT_SEED = 20260
DEFAULT_PLANES = (4, 4)
# The share of the exact k best that a search finds unless it is told otherwise.
DEFAULT_RECALL = 0.99


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """Settings that every token vector of an index shares.

    Attributes:
        dim: length of a token vector.
        planes: bits per dimension of each stored code plane, the first plane first.
        seed: of the codec's rotation.
        encoder: what `load_encoder` takes to load the encoder again: None for the embedded
            default, a hub name or a folder; "" when the caller must hand over the object.
        fingerprint: of the encoder that built the index; None for an index of vectors only.
    """

    dim: int
    planes: tuple[int, ...] = DEFAULT_PLANES
    seed: int = DEFAULT_SEED
    encoder: str | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= MAX_DIM:
            raise ConfigError(f"dim must be between 1 and {MAX_DIM}, not {self.dim}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"planes": list(self.planes)}

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> IndexConfig:
        return cls(**settings | {"planes": tuple(settings["planes"])})
