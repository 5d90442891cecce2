"""Checkpoints of sentence-transformers' MultiVectorEncoder: Stanford ColBERT, PyLate and native."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from colsearch.encoders.alignment import Alignment, Task, align
from colsearch.encoders.checkpoint import check_checkpoint, find_checkpoint
from colsearch.encoders.compute import ComputeType, compute_type
from colsearch.encoders.fingerprint import hash_arrays, hash_settings
from colsearch.encoders.ragged import join, no_token_error, require_tokens
from colsearch.errors import EncoderError
from colsearch.types import F32, I32, TokenVectors


class SentenceTransformerEncoder:
    """A late-interaction checkpoint, by Hub name or folder; safetensors only.

    Prefixes, query expansion, skiplist and length limits are the checkpoint's own. sentence-transformers
    pads its batches, so that a text's vectors can differ in the low bits between batches (float32: 1e-6).
    A blank document has no vectors, although the model would give some to [CLS] and [SEP].

    Args:
        device: torch device; the CPU if None.
        compute: as for `EmbeddedEncoder`; on other devices than the CPU "auto" is float32.
        revision: commit or tag on the Hub.
        trust_remote_code: run the checkpoint's own Python code.
    Raises: EncoderError: if the checkpoint is missing or unsafe, or its projection would be random.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        device: str | None = None,
        compute: ComputeType = "auto",
        revision: str | None = None,
        trust_remote_code: bool = False,
        batch_size: int = 32,
    ) -> None:
        folder = find_checkpoint(checkpoint, revision=revision, trust_remote_code=trust_remote_code)
        check_checkpoint(folder, trust_remote_code=trust_remote_code)
        import torch
        from sentence_transformers import MultiVectorEncoder

        model = MultiVectorEncoder(
            str(folder),
            device=device or "cpu",
            trust_remote_code=trust_remote_code,
            local_files_only=not trust_remote_code,
            model_kwargs={"use_safetensors": True},
        )
        self._adopt(model, batch_size=batch_size)
        model.to(getattr(torch, compute_type(compute, device=device or "cpu")))

    @classmethod
    def from_model(cls, model: Any, *, batch_size: int = 32) -> "SentenceTransformerEncoder":
        """Wrap a MultiVectorEncoder that the caller has loaded; its device and dtype stay."""
        self = cls.__new__(cls)
        self._adopt(model, batch_size=batch_size)
        return self

    def _adopt(self, model: Any, *, batch_size: int) -> None:
        dim = model.get_embedding_dimension()
        if dim is None:
            raise EncoderError("the MultiVectorEncoder does not say its embedding dimension")
        self._model = model
        self._dim = int(dim)
        self._batch_size = batch_size
        self._normalizes = any(type(module).__name__ == "Normalize" for module in model)
        # Taken before any cast, because the stored weights name the encoder, not the precision it runs in.
        self._fingerprint = model_fingerprint(model)

    def __repr__(self) -> str:
        return f"SentenceTransformerEncoder(dim={self._dim}, {type(self._model[0]).__name__}, ...)"

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode_query(self, texts: Sequence[str]) -> TokenVectors:
        """Vectors of the query's tokens and of the checkpoint's expansion tokens.

        Raises: EncoderError: naming the first query that is blank or has no tokens.
        """
        for position, text in enumerate(texts):
            if not text.strip():
                raise no_token_error(position, text)
        vectors = self._encode(texts, "query")
        require_tokens(texts, vectors)
        return vectors

    def encode_document(self, texts: Sequence[str]) -> TokenVectors:
        """Vectors of the tokens that the checkpoint's mask keeps; none for a blank text."""
        not_blank = [position for position, text in enumerate(texts) if text.strip()]
        vectors = self._encode([texts[position] for position in not_blank], "document")
        return _with_blanks(vectors, not_blank, n_texts=len(texts))

    def token_spans(self, text: str) -> I32:
        """(n_tokens, 2) start and end of each token, without a length limit, for `split_passages`.

        Raises: EncoderError: if the checkpoint's tokenizer gives no offsets.
        """
        tokenizer = self._model.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise EncoderError(
                f"{type(tokenizer).__name__} gives no character offsets; split the texts yourself"
            )
        encoded = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        return np.array(encoded["offset_mapping"], np.int32).reshape(-1, 2)

    def _encode(self, texts: Sequence[str], task: Task) -> TokenVectors:
        if not texts:
            return TokenVectors(np.empty((0, self._dim), np.float32), np.empty(0, np.int64))
        encode = self._model.encode_query if task == "query" else self._model.encode_document
        output = encode(list(texts), batch_size=self._batch_size, show_progress_bar=False)
        vectors = join(list(output), n_texts=len(texts), dim=self._dim)
        if self._normalizes:
            vectors = replace(vectors, vectors=_unit(vectors.vectors))
        return self._with_spans(vectors, texts, task)

    def _with_spans(self, vectors: TokenVectors, texts: Sequence[str], task: Task) -> TokenVectors:
        alignments: list[Alignment] = []
        for start in range(0, len(texts), self._batch_size):
            batch = align(self._model, texts[start : start + self._batch_size], task)
            if batch is None:
                return vectors
            alignments += batch
        if [len(alignment.spans) for alignment in alignments] != vectors.doclens.tolist():
            return vectors
        return replace(
            vectors,
            spans=np.concatenate([alignment.spans for alignment in alignments]),
            n_truncated=np.array([alignment.n_truncated for alignment in alignments], np.int64),
        )


def model_fingerprint(model: Any) -> str:
    """Hash of a loaded MultiVectorEncoder: its weights, module settings, prompts and tokenizer."""
    weights = {name: _bytes(tensor) for name, tensor in model.state_dict().items()}
    return hash_settings(
        {
            "weights": hash_arrays(weights),
            "modules": [[type(module).__name__, _settings(module)] for module in model],
            "prompts": dict(model.prompts),
            "tokenizer": _tokenizer_settings(model.tokenizer),
        }
    )


def _bytes(tensor: Any) -> Any:
    import torch

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _settings(module: Any) -> str:
    return json.dumps(module.get_config_dict(), sort_keys=True, default=repr)


def _tokenizer_settings(tokenizer: Any) -> Any:
    """The tokenizer's settings without truncation and padding, which every call sets anew."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    return {
        key: value
        for key, value in json.loads(backend.to_str()).items()
        if key not in ("truncation", "padding")
    }


def _unit(vectors: F32) -> F32:
    """The vectors at unit length: in bfloat16, rounding changes a length by up to .4 %."""
    norms: F32 = np.sqrt(np.einsum("td,td->t", vectors, vectors))[:, None]
    unit: F32 = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return unit


def _with_blanks(vectors: TokenVectors, not_blank: Sequence[int], *, n_texts: int) -> TokenVectors:
    """The vectors with doclens of all texts: 0 for the blank ones, which were not encoded."""
    doclens = np.zeros(n_texts, np.int64)
    doclens[list(not_blank)] = vectors.doclens
    if vectors.n_truncated is None:
        return replace(vectors, doclens=doclens)
    n_truncated = np.zeros(n_texts, np.int64)
    n_truncated[list(not_blank)] = vectors.n_truncated
    return replace(vectors, doclens=doclens, n_truncated=n_truncated)
