"""Any object with `encode_query` and `encode_document`, seen as an `Encoder`."""

from collections.abc import Sequence
from typing import Any

from colsearch.encoders.fingerprint import hash_settings
from colsearch.encoders.ragged import as_float32, join, require_tokens
from colsearch.types import TokenVectors


class WrappedEncoder:
    """Takes lists of (n_tokens, dim) arrays or torch tensors, one per text, and puts them end to end.

    The object's own `dim` and `fingerprint` are used where it has them. Without, `dim` is that of one
    encoded word, and the fingerprint names class and dim only, so it cannot tell two weights of one
    class apart: give the object a `fingerprint` that can.
    """

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        dim = getattr(encoder, "dim", None)
        self._dim = dim if isinstance(dim, int) else self._probe()
        own = getattr(encoder, "fingerprint", None)
        name = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
        self._fingerprint = own if isinstance(own, str) else hash_settings({"class": name, "dim": self._dim})

    def __repr__(self) -> str:
        return f"WrappedEncoder({self._encoder!r})"

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode_query(self, texts: Sequence[str]) -> TokenVectors:
        """Raises: EncoderError: for a text without tokens, or output of another shape than promised."""
        vectors = join(self._encoder.encode_query(list(texts)), n_texts=len(texts), dim=self._dim)
        require_tokens(texts, vectors)
        return vectors

    def encode_document(self, texts: Sequence[str]) -> TokenVectors:
        """Raises: EncoderError: if the output has another shape than promised."""
        return join(self._encoder.encode_document(list(texts)), n_texts=len(texts), dim=self._dim)

    def _probe(self) -> int:
        output = self._encoder.encode_document(["probe"])
        if isinstance(output, TokenVectors):
            return output.dim
        return int(as_float32(output[0]).shape[1])
