"""Where a checkpoint's vectors stand in the text: sentence-transformers gives no character offsets.

The ids that the model saw are known for certain; offsets come from tokenizing once more. They count only
if they explain exactly those ids, else the spans are unknown rather than wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colsearch.types import I32

Task: TypeAlias = Literal["query", "document"]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Of one text.

    Attributes:
        spans: (n_vectors, 2) int32 start and end in characters; empty for [CLS], prefix and expansion tokens.
        n_truncated: tokens that the checkpoint's length limit cut off.
    """

    spans: I32
    n_truncated: int


def align(model: Any, texts: Sequence[str], task: Task) -> list[Alignment] | None:
    """One alignment per text; None if the tokenizer gives no offsets or vectors are pooled.

    Args:
        model: a MultiVectorEncoder.
    """
    tokenizer = model.tokenizer
    if not getattr(tokenizer, "is_fast", False) or _pools(model, task):
        return None
    prompt = str(model.prompts.get(task) or "")
    features = model.preprocess(list(texts), prompt=prompt, task=task)
    ids = features["input_ids"].numpy(force=True)
    expansion = features.get("query_expansion_positions")
    seen = features["attention_mask"].numpy(force=True).astype(bool)
    real = seen if expansion is None else seen & ~expansion.numpy(force=True).astype(bool)
    kept = scoring_mask(model, features, task)
    alignments = [
        _align_one(tokenizer, prompt, text, ids[row], real[row], kept[row]) for row, text in enumerate(texts)
    ]
    whole = [alignment for alignment in alignments if alignment is not None]
    return whole if len(whole) == len(alignments) else None


def scoring_mask(model: Any, features: dict[str, Any], task: Task) -> NDArray[np.bool_]:
    """(n_texts, n_positions) which positions become vectors, by the checkpoint's own mask module."""
    masked = dict(features)
    for module in model:
        if type(module).__name__ == "MultiVectorMask":
            masked = module(masked, task=task)
    mask: NDArray[np.bool_] = masked["attention_mask"].numpy(force=True).astype(bool)
    return mask


def _pools(model: Any, task: Task) -> bool:
    """With token pooling one vector stands for several tokens, so it has no span."""
    return any(hasattr(module, "pool_one") and module.applies_to(task) for module in model)


def _align_one(
    tokenizer: Any,
    prompt: str,
    text: str,
    ids: NDArray[Any],
    real: NDArray[np.bool_],
    kept: NDArray[np.bool_],
) -> Alignment | None:
    encoded = tokenizer(
        prompt + text,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        truncation=False,
        verbose=False,
    )
    whole, n_seen = np.array(encoded["input_ids"]), int(np.count_nonzero(real))
    chosen = _after_truncation(len(whole), n_seen, n_last=_n_trailing(encoded["special_tokens_mask"]))
    if not np.array_equal(whole[chosen], ids[real]):
        return None
    in_text = np.array(encoded["offset_mapping"], np.int32).reshape(-1, 2)[chosen] - len(prompt)
    # A token of the prefix ends at or before 0; one that straddles the border keeps its part of the text.
    spans = np.zeros((len(ids), 2), np.int32)
    spans[real] = np.maximum(in_text, 0)
    return Alignment(spans[kept], len(whole) - n_seen)


def _after_truncation(n_whole: int, n_seen: int, *, n_last: int) -> NDArray[np.int64]:
    """Truncation takes from the text's end and keeps the closing special tokens."""
    if n_seen >= n_whole:
        return np.arange(n_whole)
    return np.concatenate([np.arange(n_seen - n_last), np.arange(n_whole - n_last, n_whole)])


def _n_trailing(special: Sequence[int]) -> int:
    n = 0
    while n < len(special) and special[-1 - n]:
        n += 1
    return n
