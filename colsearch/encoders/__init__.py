"""Texts to token vectors: the embedded default, sentence-transformers checkpoints, or any object."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from colsearch.errors import EncoderError
from colsearch.types import TokenVectors


@runtime_checkable
class Encoder(Protocol):
    """Makes one unit vector per token, for queries and for documents.

    Attributes:
        dim: components of every vector.
        fingerprint: names the weights, not the path: equal for encoders that make the same vectors.

    `encode_query` raises EncoderError for a text without tokens; `encode_document` gives it doclen 0.
    """

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode_query(self, texts: Sequence[str]) -> TokenVectors: ...

    def encode_document(self, texts: Sequence[str]) -> TokenVectors: ...


def load_encoder(spec: str | Path | object | None = None) -> Encoder:
    """The encoder that `spec` means.

    Args:
        spec: None for the embedded default; a Hub name or a folder for a sentence-transformers
            MultiVectorEncoder checkpoint; an `Encoder`; or any object with `encode_query` and
            `encode_document` that return one (n_tokens, dim) array or tensor per text.
    Raises: EncoderError: if it is none of these, or unsafe to load.
    """
    if spec is None:
        from colsearch.encoders.embedded import EmbeddedEncoder

        return EmbeddedEncoder()
    if isinstance(spec, str | Path):
        from colsearch.encoders.sentence_transformer import SentenceTransformerEncoder

        return SentenceTransformerEncoder(spec)
    if isinstance(spec, Encoder):
        return spec
    return _wrap(spec)


def _wrap(spec: object) -> Encoder:
    if isinstance(spec, type) or not (hasattr(spec, "encode_query") and hasattr(spec, "encode_document")):
        raise EncoderError(
            f"{spec!r} is no encoder: give a checkpoint's name or folder, or an object with "
            "encode_query and encode_document"
        )
    if type(spec).__module__.startswith("sentence_transformers.multi_vector_encoder"):
        from colsearch.encoders.sentence_transformer import SentenceTransformerEncoder

        return SentenceTransformerEncoder.from_model(spec)
    from colsearch.encoders.wrapped import WrappedEncoder

    return WrappedEncoder(spec)
