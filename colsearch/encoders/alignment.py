"""Character spans of a checkpoint's vectors, which sentence-transformers does not give.

The token ids that the model read are certain. Their offsets come from tokenizing the text once more, and
are used only if that gives exactly the same ids. Otherwise the spans are unknown, rather than wrong.
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
    """Where the vectors of one text stand in it.

    Attributes:
        spans: (n_vectors, 2) int32, start and end in characters; empty for special, prompt and expansion
            tokens.
        n_truncated: tokens that the checkpoint's length limit cut off.
    """

    spans: I32
    n_truncated: int


def align(model: Any, texts: Sequence[str], task: Task) -> list[Alignment] | None:
    """One alignment per text; None if one of them is unknown.

    It is unknown if vectors are pooled, or if the tokenizer gives no offsets or other ids than the model
    read.

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
    attended = features["attention_mask"].numpy(force=True).astype(bool)
    in_text = attended if expansion is None else attended & ~expansion.numpy(force=True).astype(bool)
    kept = scoring_mask(model, features, task)
    alignments = []
    for row, text in enumerate(texts):
        alignment = _align_text(tokenizer, prompt, text, ids[row], in_text[row], kept[row])
        if alignment is None:
            return None
        alignments.append(alignment)
    return alignments


def scoring_mask(model: Any, features: dict[str, Any], task: Task) -> NDArray[np.bool_]:
    """(n_texts, n_positions) whether a position becomes a vector, by the checkpoint's own mask module."""
    masked = dict(features)
    for module in model:
        if type(module).__name__ == "MultiVectorMask":
            masked = module(masked, task=task)
    mask: NDArray[np.bool_] = masked["attention_mask"].numpy(force=True).astype(bool)
    return mask


def _pools(model: Any, task: Task) -> bool:
    """Whether one vector stands for several tokens, so that it has no span."""
    return any(hasattr(module, "pool_one") and module.applies_to(task) for module in model)


def _align_text(
    tokenizer: Any,
    prompt: str,
    text: str,
    ids: NDArray[Any],
    in_text: NDArray[np.bool_],
    kept: NDArray[np.bool_],
) -> Alignment | None:
    """The alignment of one text; None if tokenizing it again gives other ids.

    Args:
        ids: (n_positions,) the token ids that the model read.
        in_text: (n_positions,) whether the token is of the prompt or the text: no padding, no expansion.
        kept: (n_positions,) whether the position becomes a vector.
    """
    encoded = tokenizer(
        prompt + text,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        truncation=False,
        verbose=False,
    )
    all_ids, n_read = np.array(encoded["input_ids"]), int(np.count_nonzero(in_text))
    remaining = _after_truncation(len(all_ids), n_read, n_last=_n_trailing(encoded["special_tokens_mask"]))
    if not np.array_equal(all_ids[remaining], ids[in_text]):
        return None
    offsets = np.array(encoded["offset_mapping"], np.int32).reshape(-1, 2)[remaining] - len(prompt)
    # A token of the prompt ends at or before 0; one across the border keeps its part of the text.
    spans = np.zeros((len(ids), 2), np.int32)
    spans[in_text] = np.maximum(offsets, 0)
    return Alignment(spans[kept], len(all_ids) - n_read)


def _after_truncation(n_tokens: int, n_read: int, *, n_last: int) -> NDArray[np.int64]:
    """Numbers of the tokens that remain: truncation keeps the `n_last` closing special tokens."""
    if n_read >= n_tokens:
        return np.arange(n_tokens)
    return np.concatenate([np.arange(n_read - n_last), np.arange(n_tokens - n_last, n_tokens)])


def _n_trailing(special: Sequence[int]) -> int:
    """The number of special tokens at the end."""
    n = 0
    while n < len(special) and special[-1 - n]:
        n += 1
    return n
