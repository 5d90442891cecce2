"""Any object with `encode_query` and `encode_document`, made an `Encoder`."""

from collections.abc import Sequence
from typing import Any

from colsearch.encoders.fingerprint import hash_settings
from colsearch.encoders.ragged import join, require_tokens, token_array
from colsearch.types import TokenVectors


class WrappedEncoder:
    """An encoder around an object that returns one (n_tokens, dim) array or torch tensor per text.

    The object's own `dim` and `fingerprint` are used if it has them. Else `dim` is found by encoding one
    word, and the fingerprint is made of class and dim. Such a fingerprint is the same for all weights of
    that class: give the object a `fingerprint` that tells them apart.
    """

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        dim = getattr(encoder, "dim", None)
        self._dim = dim if isinstance(dim, int) else self._probed_dim()
        fingerprint = getattr(encoder, "fingerprint", None)
        if not isinstance(fingerprint, str):
            class_name = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
            fingerprint = hash_settings({"class": class_name, "dim": self._dim})
        self._fingerprint = fingerprint

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
        """Raises: EncoderError: if the output has another shape than `Encoder` promises."""
        return join(self._encoder.encode_document(list(texts)), n_texts=len(texts), dim=self._dim)

    def _probed_dim(self) -> int:
        output = self._encoder.encode_document(["probe"])
        if isinstance(output, TokenVectors):
            return output.dim
        return int(token_array(output[0]).shape[1])
