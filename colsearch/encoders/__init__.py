"""How do texts become token vectors? By the embedded default, a checkpoint, or any object of the user's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from colsearch.errors import EncoderError
from colsearch.types import TokenVectors


@runtime_checkable
class Encoder(Protocol):
    """Makes one unit vector per token, for queries and for documents.

    A text without tokens is an EncoderError in `encode_query`, and has doclen 0 in `encode_document`.

    Attributes:
        dim: length of every vector.
        fingerprint: the same string for encoders that make the same vectors, wherever their files are.
    """

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode_query(self, texts: Sequence[str]) -> TokenVectors: ...

    def encode_document(self, texts: Sequence[str]) -> TokenVectors: ...


def load_encoder(spec: str | Path | object | None = None) -> Encoder:
    """Load or wrap an encoder.

    Args:
        spec: None for the embedded default; the Hub name or the folder of a sentence-transformers
            MultiVectorEncoder checkpoint; an `Encoder`, returned as it is; or any object with
            `encode_query` and `encode_document` that return one (n_tokens, dim) array or tensor per text.
    Raises: EncoderError: if `spec` is none of these, or is unsafe to load.
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
