"""The few types that cross module borders."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
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
class Hit:
    """One result of a search: its score is MaxSim over the stored codes."""

    id: DocId
    score: float
    text: str | None = field(default=None, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
