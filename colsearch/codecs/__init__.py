"""Token vectors to what is stored and back: rotated bit planes, or float16 for reference."""

from typing import Any, Protocol

from colsearch.codecs.encoded import BytesPerToken, EncodedTokens
from colsearch.codecs.float16 import Float16Codec
from colsearch.codecs.rotated import RotatedCodec
from colsearch.errors import FormatError
from colsearch.types import F32

__all__ = [
    "BytesPerToken",
    "Codec",
    "EncodedTokens",
    "Float16Codec",
    "RotatedCodec",
    "codec_from_json",
    "make_codec",
]


class Codec(Protocol):
    """What the index needs of a codec; settings are frozen, nothing is trained."""

    @property
    def dim(self) -> int: ...
    @property
    def planes(self) -> tuple[int, ...]: ...
    @property
    def bytes_per_token(self) -> BytesPerToken: ...

    def encode(self, vectors: F32) -> EncodedTokens: ...
    def decode(self, encoded: EncodedTokens, n_planes: int | None = None) -> F32: ...
    def to_json(self) -> dict[str, Any]: ...


def make_codec(dim: int, planes: tuple[int, ...]) -> RotatedCodec | Float16Codec:
    """The codec of these planes: `(16,)` is float16, everything else rotated bit planes."""
    if tuple(planes) == (16,):
        return Float16Codec(dim)
    return RotatedCodec(dim, tuple(planes))


def codec_from_json(settings: dict[str, Any]) -> RotatedCodec | Float16Codec:
    """The codec whose `to_json` this is."""
    name = settings.get("codec")
    if name == RotatedCodec.name:
        return RotatedCodec.from_json(settings)
    if name == Float16Codec.name:
        return Float16Codec.from_json(settings)
    raise FormatError(f"codec {name!r} is unknown to this release; update colsearch")
