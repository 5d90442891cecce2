"""What is fixed when an index is created, and how it is written into the index."""

from dataclasses import asdict, dataclass
from typing import Any

from colsearch.codec.rotated import RotatedCodec
from colsearch.errors import ConfigError

MAX_DIM = 4096
DEFAULT_SEED = 20260
# Of the exact k best, the share that a search finds unless it is told otherwise.
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
    planes: tuple[int, ...] = (4, 4)
    seed: int = DEFAULT_SEED
    encoder: str | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= MAX_DIM:
            raise ConfigError(f"dim must be between 1 and {MAX_DIM}, not {self.dim}")

    def codec(self) -> RotatedCodec:
        """The codec of these settings.

        Raises: ConfigError: for planes or a seed that it does not know.
        """
        return RotatedCodec(self.dim, self.planes, seed=self.seed)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"planes": list(self.planes)}

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> "IndexConfig":
        return cls(**settings | {"planes": tuple(settings["planes"])})
