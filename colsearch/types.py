"""The few types that cross module borders."""

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
    """Token vectors of several texts end to end: the one ragged type, never a padded array.

    Attributes:
        vectors: (n_tokens, dim) float32.
        doclens: (n_texts,) int64, tokens per text; 0 for a text without tokens.
        spans: (n_tokens, 2) int32, start and end of each token in its text, in characters;
            None when the encoder cannot tell.
        n_truncated: (n_texts,) int64, tokens cut from each text by the encoder's length limit.
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
    """One stored or to-be-stored document; text is None for vectors-only documents."""

    id: DocId
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search: its score is MaxSim over the stored codes."""

    id: DocId
    score: float
    text: str | None = field(default=None, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Profile:
    """What one search did.

    Attributes:
        n_candidates: documents that were scored for a place among the hits.
        n_scored: scores computed; those of the best candidates are computed twice, coarse and fine.
        n_tokens_scored: document tokens in these.
        bytes_read: of codes.
        stage_ms: wall milliseconds per stage; queries that were encoded or scanned together show their sum.
    """

    n_candidates: int = 0
    n_scored: int = 0
    n_tokens_scored: int = 0
    bytes_read: int = 0
    stage_ms: dict[str, float] = field(default_factory=dict)

    def copy(self) -> "Profile":
        """One of its own, for each query of a batch."""
        return replace(self, stage_ms=dict(self.stage_ms))


class Hits(list[Hit]):
    """The hits of one query, best first; `profile` is set when the search was asked for it."""

    profile: Profile | None = None
