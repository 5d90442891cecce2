"""The types that several folders share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
I8: TypeAlias = NDArray[np.int8]
U8: TypeAlias = NDArray[np.uint8]
DocId: TypeAlias = str | int
Metadata: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """Token vectors of several texts, end to end: the library's only ragged type, never a padded array.

    Attributes:
        vectors: (n_tokens, dim) float32.
        doclens: (n_texts,) int64, tokens per text; 0 for a text without tokens.
        spans: (n_tokens, 2) int32, start and end of each token in its text, in characters;
            None if the encoder does not know them.
        n_truncated: (n_texts,) int64, tokens that the encoder's length limit cut from each text;
            None if it does not count them.
    """

    vectors: F32
    doclens: I64
    spans: I32 | None = None
    n_truncated: I64 | None = None

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.doclens)


@dataclass(frozen=True, slots=True)
class Document:
    """A document that is stored or will be; text is None for documents that have vectors only."""

    id: DocId
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search; its score is MaxSim over the stored codes."""

    id: DocId
    score: float
    text: str | None = field(default=None, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Profile:
    """The work of one search.

    Attributes:
        n_candidates: documents that were scored.
        n_scored: scores computed; the best candidates are scored twice, first coarsely and then finely.
        n_tokens_scored: document tokens that these scores were computed over.
        bytes_read: bytes of token codes that were read.
        stage_ms: wall milliseconds per stage; queries encoded or scanned together all show the sum of theirs.
    """

    n_candidates: int = 0
    n_scored: int = 0
    n_tokens_scored: int = 0
    bytes_read: int = 0
    stage_ms: dict[str, float] = field(default_factory=dict)

    def copy(self) -> "Profile":
        """A profile that one query of a batch can change without changing the others'."""
        return replace(self, stage_ms=dict(self.stage_ms))


class Hits(list[Hit]):
    """The hits of one query, best first; `profile` is set when the search was asked for it."""

    profile: Profile | None = None
