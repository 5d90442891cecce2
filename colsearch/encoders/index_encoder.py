"""The encoder of one index: loaded at first use, and compared with the one that built the index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colsearch.codec.rotated import RotatedCodec
from colsearch.config import IndexConfig
from colsearch.errors import ConfigError, EncoderError
from colsearch.types import TokenVectors

if TYPE_CHECKING:
    from colsearch.encoders import Encoder
    from colsearch.ingest.passages import TokenSpans


class IndexEncoder:
    """Encodes for the index in `path`.

    Args:
        encoder: the caller's; None loads the one that the index names, at first use.
    Raises: EncoderError: if the caller's encoder is not the one that built the index.
    """

    def __init__(self, config: IndexConfig, path: Path, encoder: Encoder | None) -> None:
        self._config = config
        self._path = path
        self._encoder = None if encoder is None else self._checked(encoder)

    @property
    def available(self) -> bool:
        """Whether there is an encoder, loaded or not; an index of the caller's vectors may have none."""
        return self._encoder is not None or self._config.encoder != ""

    def get(self) -> Encoder:
        """The encoder.

        Raises: EncoderError: if there is none, or if it is another one.
        """
        if self._encoder is None:
            if not self.available:
                raise EncoderError(
                    f"{self._path} holds vectors made outside colsearch: search with token vectors, or open it "
                    "with encoder=..."
                )
            self._encoder = self._checked(_loaded(self._config.encoder))
        return self._encoder

    def encode_query(self, texts: Sequence[str]) -> TokenVectors:
        """Token vectors of queries."""
        return (self._encoder or self.get()).encode_query(texts)

    def encode_document(self, texts: Sequence[str]) -> TokenVectors:
        """Token vectors of documents."""
        return self.get().encode_document(texts)

    def token_spans(self) -> TokenSpans:
        """A function from a text to the places of its tokens.

        Raises: EncoderError: if the encoder has none.
        """
        token_spans: TokenSpans | None = getattr(self.get(), "token_spans", None)
        if token_spans is None:
            raise EncoderError(
                "this encoder does not say where tokens lie (token_spans); cut the texts yourself"
            )
        return token_spans

    def _checked(self, encoder: Encoder) -> Encoder:
        if self._config.fingerprint is not None and encoder.fingerprint != self._config.fingerprint:
            raise EncoderError(
                f"{self._path} was built with encoder {self._config.fingerprint}, this one is "
                f"{encoder.fingerprint}; open the index with the encoder that built it, or build it anew"
            )
        if encoder.dim != self._config.dim:
            raise EncoderError(f"the encoder has dim {encoder.dim}, {self._path} has {self._config.dim}")
        return encoder


def new_index_config(
    encoder: object, *, dim: int | None, planes: Sequence[int], seed: int
) -> tuple[IndexConfig, Encoder | None]:
    """The settings of a new index and its encoder; an index of the caller's vectors (`dim`) has no encoder.

    Raises: ConfigError, EncoderError.
    """
    if dim is not None and encoder is not None:
        raise ConfigError("give either an encoder or dim (for your own vectors), not both")
    loaded = None
    if dim is not None:
        config = IndexConfig(dim, tuple(planes), seed, encoder="")
    else:
        loaded = _loaded(encoder)
        name = None if encoder is None else str(encoder) if isinstance(encoder, str | Path) else ""
        config = IndexConfig(loaded.dim, tuple(planes), seed, name, loaded.fingerprint)
    # Before anything is written: it refuses planes and seeds that cannot be stored.
    RotatedCodec.from_config(config)
    return config, loaded


def given_encoder(encoder: object) -> Encoder | None:
    """The encoder that a caller hands over when opening an index; None if he leaves that to the index."""
    return None if encoder is None else _loaded(encoder)


def _loaded(spec: object) -> Encoder:
    # Imported here: encoders bring torch, which an index of vectors never needs.
    from colsearch.encoders import load_encoder

    return load_encoder(spec)
