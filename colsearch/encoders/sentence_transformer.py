"""Checkpoints of sentence-transformers' MultiVectorEncoder: Stanford ColBERT, PyLate and native."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colsearch.encoders.ragged import join, require_tokens
from colsearch.errors import EncoderError
from colsearch.types import TokenVectors


class SentenceTransformerEncoder:
    """A late-interaction checkpoint, by Hub name or folder."""

    def __init__(self, checkpoint: str | Path) -> None:
        raise EncoderError(f"{checkpoint}: give a loaded MultiVectorEncoder")

    @classmethod
    def from_model(cls, model: Any) -> "SentenceTransformerEncoder":
        """Around a MultiVectorEncoder that the caller loaded."""
        self = cls.__new__(cls)
        self._model = model
        return self

    _model: Any

    @property
    def dim(self) -> int:
        return int(self._model.get_embedding_dimension())

    @property
    def fingerprint(self) -> str:
        return type(self._model).__qualname__

    def encode_query(self, texts: Sequence[str]) -> TokenVectors:
        """Raises: EncoderError: for a text without tokens."""
        vectors = join(self._model.encode_query(list(texts)), n_texts=len(texts), dim=self.dim)
        require_tokens(texts, vectors)
        return vectors

    def encode_document(self, texts: Sequence[str]) -> TokenVectors:
        return join(self._model.encode_document(list(texts)), n_texts=len(texts), dim=self.dim)
