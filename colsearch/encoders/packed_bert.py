"""BERT over texts of any lengths, packed end to end without padding.

Linear layers and norms see one matrix with a row per token; attention sees one text at a time. Padding would
cost time, and its mask would make a text's numbers depend on its neighbours.

Source: Devlin et al. 2018. Oracle: `transformers.BertModel`.
"""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from colsearch.errors import EncoderError
from colsearch.types import I32

if TYPE_CHECKING:
    from torch import Tensor

# The last bits of a product must not depend on the number of rows, which is the pack's. With fewer than 16
# rows MKL sums a row's terms in another order (AVX-512), so packs are padded to a multiple of 16 rows.
_ROWS = 16
# oneDNN in bfloat16 (AMX) uses another order for 48 to 383 rows of 1,536 terms. Pieces of 32 rows have the
# bits of 384 rows and more.
_PIECE_ROWS, _WHOLE_ROWS = 32, 384
_TABLES = ("word", "position", "token_type")
_PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


class PackedBert:
    """The hidden states of a BERT checkpoint's last layer, for inference on the CPU.

    Args:
        folder: contains config.json and model.safetensors.
        compute: precision of the arithmetic.
    Raises: EncoderError: if a weight is missing.
    """

    def __init__(self, folder: Path, compute: Literal["bfloat16", "float32"]) -> None:
        # Packs come in many sizes, and oneDNN would keep a compiled primitive per size and layer: 370 MB
        # after a thousand texts, without any gain in speed. oneDNN reads the variable once, at its first use.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
        import torch
        from safetensors.torch import load_file

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._n_layers, self._n_heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
        self._epsilon = float(config["layer_norm_eps"])
        stored = load_file(folder / "model.safetensors")
        missing = sorted(self._names() - stored.keys())
        if missing:
            raise EncoderError(
                f"{folder} lacks the weights {missing[:3]}; reinstall the package that it came with"
            )
        self._in_bfloat16 = compute == "bfloat16"
        self._weights = {name: stored[name].to(getattr(torch, compute)) for name in self._names()}

    def _names(self) -> set[str]:
        layers = [f"encoder.layer.{number}.{part}" for number in range(self._n_layers) for part in _PARTS]
        normalized = {
            f"{part}.{kind}" for part in ["embeddings.LayerNorm", *layers] for kind in ("weight", "bias")
        }
        return normalized | {f"embeddings.{table}_embeddings.weight" for table in _TABLES}

    def __call__(self, ids: Sequence[I32]) -> "Tensor":
        """(n_tokens, hidden size) states of all texts end to end, followed by some rows of padding.

        Neighbours of equal length share a call of attention.

        Args:
            ids: per text (n_tokens,) int32.
        """
        import torch

        lengths = [len(ids_of_text) for ids_of_text in ids]
        padding = np.zeros(-sum(lengths) % _ROWS, np.int32)
        flat = torch.from_numpy(np.concatenate([*ids, padding]).astype(np.int64))
        positions = torch.from_numpy(np.concatenate([*map(np.arange, lengths), padding]).astype(np.int64))
        runs = list(_equal_length_runs(lengths))
        with torch.inference_mode():
            states = self._embed(flat, positions)
            for number in range(self._n_layers):
                states = self._layer(f"encoder.layer.{number}.", states, runs)
        return states

    def _embed(self, ids: "Tensor", positions: "Tensor") -> "Tensor":
        table = self._weight("embeddings.word_embeddings")[ids]
        table += self._weight("embeddings.token_type_embeddings")[0]
        table += self._weight("embeddings.position_embeddings")[positions]
        return self._normalized("embeddings.LayerNorm", table)

    def _layer(self, layer: str, states: "Tensor", runs: Sequence[tuple[slice, int]]) -> "Tensor":
        import torch

        query, key, value = (
            self._linear(f"{layer}attention.self.{name}", states) for name in ("query", "key", "value")
        )
        context = self._attention(query, key, value, runs)
        states = self._add_and_normalize(f"{layer}attention.output", states, context)
        # In place: the page faults of 12 MB of new memory would take 3 % of the time. torch.nn has no gelu_.
        hidden = torch.ops.aten.gelu_(self._linear(f"{layer}intermediate.dense", states))
        return self._add_and_normalize(f"{layer}output", states, hidden)

    def _add_and_normalize(self, name: str, states: "Tensor", update: "Tensor") -> "Tensor":
        """Layer norm of `states` plus the dense layer of `update`; `states` is overwritten."""
        dense = f"{name}.dense"
        states.add_(self._weight(dense, "bias"))
        in_pieces = self._in_bfloat16 and len(states) < _WHOLE_ROWS
        n_rows = _PIECE_ROWS if in_pieces else len(states)
        for states_piece, update_piece in zip(states.split(n_rows), update.split(n_rows)):
            states_piece.addmm_(update_piece, self._weight(dense).t())
        return self._normalized(f"{name}.LayerNorm", states)

    def _attention(
        self, query: "Tensor", key: "Tensor", value: "Tensor", runs: Sequence[tuple[slice, int]]
    ) -> "Tensor":
        from torch.nn.functional import scaled_dot_product_attention

        width = query.shape[1]
        # Rows of padding are in no text, so nothing is written to them; zeros keep them finite.
        context = query.new_zeros(query.shape)
        for rows, n_tokens in runs:
            shape = -1, n_tokens, self._n_heads, width // self._n_heads
            heads = (tensor[rows].view(shape).transpose(1, 2) for tensor in (query, key, value))
            context[rows] = scaled_dot_product_attention(*heads).transpose(1, 2).reshape(-1, width)
        return context

    def _linear(self, name: str, states: "Tensor") -> "Tensor":
        from torch.nn.functional import linear

        return linear(states, self._weight(name), self._weight(name, "bias"))

    def _normalized(self, name: str, states: "Tensor") -> "Tensor":
        from torch.nn.functional import layer_norm

        return layer_norm(
            states, states.shape[1:], self._weight(name), self._weight(name, "bias"), self._epsilon
        )

    def _weight(self, name: str, kind: str = "weight") -> Any:
        return self._weights[f"{name}.{kind}"]


def _equal_length_runs(lengths: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """Per run of neighbouring texts of equal length: its rows, and that length."""
    start = 0
    for length, run in groupby(lengths):
        stop = start + length * len(list(run))
        yield slice(start, stop), length
        start = stop
