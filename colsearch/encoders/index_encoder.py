"""The encoder of one index: loaded at first use, and compared with the one that built the index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colsearch.config import IndexConfig
from colsearch.errors import EncoderError
from colsearch.ingest import validate
from colsearch.prefilter.maintenance import EncodeQueries
from colsearch.types import TokenVectors

if TYPE_CHECKING:
    from colsearch.encoders import Encoder
    from colsearch.ingest.passages import TokenSpans


class IndexEncoder:
    """Of the index in `path`; `encoder` is what the caller gave, or None to load what the index names."""

    def __init__(self, config: IndexConfig, path: Path, encoder: Encoder | None) -> None:
        self._config = config
        self._path = path
        self._encoder = None if encoder is None else self._checked(encoder)

    def get(self) -> Encoder:
        """The encoder.

        Raises: EncoderError if there is none, or if it is another one.
        """
        if self._encoder is None:
            if self._config.encoder == "":
                raise EncoderError(
                    f"{self._path} holds vectors made outside colsearch: search with token vectors, or open it "
                    "with encoder=..."
                )
            self._encoder = self._checked(loaded_encoder(self._config.encoder))
        return self._encoder

    def query_tokens(self, queries: Sequence[validate.Query]) -> list[TokenVectors]:
        """The tokens of each query; all texts are encoded in one go."""
        texts = [validate.checked_query_text(query) for query in queries if isinstance(query, str)]
        encoded = iter(validate.split(self.get().encode_query(texts)) if texts else [])
        return [
            next(encoded) if isinstance(query, str) else validate.query_tokens(query, self._config.dim)
            for query in queries
        ]

    def token_spans(self) -> TokenSpans:
        """What says where the tokens of a text lie.

        Raises: EncoderError if the encoder cannot.
        """
        token_spans: TokenSpans | None = getattr(self.get(), "token_spans", None)
        if token_spans is None:
            raise EncoderError(
                "this encoder does not say where tokens lie (token_spans); cut the texts yourself"
            )
        return token_spans

    def for_queries(self) -> EncodeQueries | None:
        """What encodes texts as queries, if this index knows of an encoder."""
        known = self._encoder is not None or self._config.encoder != ""
        return self.get().encode_query if known else None

    def _checked(self, encoder: Encoder) -> Encoder:
        if self._config.fingerprint is not None and encoder.fingerprint != self._config.fingerprint:
            raise EncoderError(
                f"{self._path} was built with encoder {self._config.fingerprint}, this one is "
                f"{encoder.fingerprint}; open the index with the encoder that built it, or build it anew"
            )
        if encoder.dim != self._config.dim:
            raise EncoderError(f"the encoder has dim {encoder.dim}, {self._path} has {self._config.dim}")
        return encoder


def loaded_encoder(spec: object) -> Encoder:
    """As `encoders.load_encoder`, imported only here: encoders bring torch, which vectors alone never need."""
    from colsearch.encoders import load_encoder

    return load_encoder(spec)
