"""MaxSim on any torch device, over floats and over codes that live on the device.

Loaded only when asked for: `from colsearch_kernels import torch_backend`. Over codes the numbers are those of
`reference.py` to the bit: products of small integers are exact in float32, and what rounds is done in the
same order. Over floats they differ by rounding.

On CUDA with Triton installed, `triton_kernel` reads the codes once and never writes a similarity; elsewhere
codes are decoded in chunks of bounded memory. **Neither was ever run on a GPU**: torch's path is tested on
the CPU device, Triton's in its interpreter.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from colsearch_kernels.codes import F32, I64, Codes, QuantizedQuery, block_bits
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.lazy import lazy
from colsearch_kernels.reference import checked_n_planes

DEFAULT_MEMORY_BYTES = 256 << 20
# Over this many dims, sums of |q| <= 63 times |2u - 255| <= 255 stay below 2**24: exact in float32.
_EXACT_DIMS = 1024


@dataclass(frozen=True, eq=False)
class DeviceCodes:
    """`Codes` on a torch device: copied there once, then scored by any number of queries.

    Attributes:
        planes: per plane (n_tokens, padded_dim * bits / 8) uint8.
        widths: per plane (n_tokens,) float32.
        offsets: (n_docs + 1,) int64.
        host_offsets: the same on the host, to cut chunks without asking the device.
    """

    padded_dim: int
    plane_bits: tuple[int, ...]
    planes: tuple[torch.Tensor, ...]
    widths: tuple[torch.Tensor, ...]
    offsets: torch.Tensor
    host_offsets: I64

    @classmethod
    def copy_of(cls, codes: Codes, device: str | torch.device) -> "DeviceCodes":
        """Copy codes (memory maps too) to a device."""
        widths = [width.view(np.float16).astype(np.float32) for width in codes.widths]
        return cls(
            codes.padded_dim,
            codes.plane_bits,
            tuple(_to_device(plane, device) for plane in codes.planes),
            tuple(_to_device(width, device) for width in widths),
            _to_device(codes.offsets, device),
            np.array(codes.offsets),
        )

    @lazy
    def device(self) -> torch.device:
        return self.offsets.device

    @property
    def n_docs(self) -> int:
        return len(self.host_offsets) - 1


def maxsim(
    query: F32 | torch.Tensor,
    vectors: F32 | torch.Tensor,
    doclens: I64,
    *,
    device: str | torch.device = "cpu",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> F32:
    """Float MaxSim of one query against ragged documents; nothing is padded.

    Args:
        query: (n_query_tokens, dim), of the floating type to compute in.
        vectors: (n_tokens, dim) of the same type; copied to the device chunk by chunk where it is not there.
        doclens: (n_docs,) tokens per document; sums to n_tokens.
        memory_bytes: of intermediate arrays on the device, if the longest document allows.
    Returns: (n_docs,) float32; -inf for a document without tokens.
    Raises: KernelInputError.
    """
    queries, tokens = torch.as_tensor(query), torch.as_tensor(vectors)
    offsets = _offsets(doclens)
    if queries.ndim != 2 or tokens.ndim != 2 or queries.shape[1] != tokens.shape[1] or not len(queries):
        raise KernelInputError(f"query {tuple(queries.shape)} and vectors {tuple(tokens.shape)} do not fit")
    if queries.dtype != tokens.dtype or not tokens.dtype.is_floating_point:
        raise KernelInputError(f"query is {queries.dtype}, vectors are {tokens.dtype}: need one float type")
    if offsets[-1] != len(tokens):
        raise KernelInputError(f"doclens sum to {offsets[-1]}, but there are {len(tokens)} vectors")
    queries = queries.to(device)
    token_bytes = tokens.element_size() * tokens.shape[1] + 8 * len(queries)
    scores = np.empty(len(doclens), np.float32)
    for docs in _chunks(offsets, memory_bytes // token_bytes):
        rows = tokens[offsets[docs.start] : offsets[docs.stop]].to(device)
        best = _segment_max((rows @ queries.T).float(), _lengths(offsets, docs, device))
        scores[docs] = best.sum(dim=1).cpu().numpy()
    return scores


def score_codes_batch(
    queries: Sequence[QuantizedQuery],
    codes: DeviceCodes,
    *,
    ordinals: I64 | None = None,
    n_planes: int | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    fused: bool | None = None,
) -> F32:
    """(n_queries, n) float32 scores of each document (of `ordinals`, or all); equals `reference` to the bit.

    Args:
        fused: use the Triton kernel; None does so on CUDA devices when Triton is installed.
    Raises: KernelInputError: ordinals or a query that do not fit.
    """
    n_planes = checked_n_planes(n_planes, codes.plane_bits)
    values, scales = _stacked(queries, codes)
    ordinals = _checked_ordinals(ordinals, codes.n_docs)
    if fused is None:
        fused = codes.device.type == "cuda" and importlib.util.find_spec("triton") is not None
    scores = np.empty((len(queries), len(ordinals)), np.float32)
    ends = np.cumsum([len(query) for query in queries])
    for docs, chunk in _candidate_chunks(codes, ordinals, len(values), memory_bytes, fused=fused):
        if fused:
            from colsearch_kernels import triton_kernel

            best = triton_kernel.best_similarities(values, codes, chunk, n_planes)
        else:
            best = _best_similarities(values, codes, chunk, n_planes)
        empty = (codes.offsets[chunk + 1] == codes.offsets[chunk]).cpu().numpy()
        for i, (end, query) in enumerate(zip(ends, queries)):
            tokens = slice(int(end) - len(query), int(end))
            scores[i, docs] = _weighted_sum(best[:, tokens], scales[tokens])
        scores[:, docs][:, empty] = -np.inf
    return scores


def score_codes(
    query: QuantizedQuery,
    codes: DeviceCodes,
    *,
    ordinals: I64 | None = None,
    n_planes: int | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    fused: bool | None = None,
) -> F32:
    """(n,) float32: `score_codes_batch` of one query."""
    scores = score_codes_batch(
        [query], codes, ordinals=ordinals, n_planes=n_planes, memory_bytes=memory_bytes, fused=fused
    )
    first: F32 = scores[0]
    return first


def top_k(
    query: QuantizedQuery,
    codes: DeviceCodes,
    k: int,
    *,
    ordinals: I64 | None = None,
    live: NDArray[np.bool_] | None = None,
    n_planes: int | None = None,
) -> tuple[I64, F32]:
    """Ordinals and scores of the k best live documents with tokens, best first, ties to the lower ordinal."""
    ordinals = _checked_ordinals(ordinals, codes.n_docs)
    if live is not None:
        ordinals = ordinals[live[ordinals]]
    scores = score_codes(query, codes, ordinals=ordinals, n_planes=n_planes)
    order = np.lexsort((ordinals, -scores))
    order = order[np.isfinite(scores[order])][:k]
    return ordinals[order], scores[order]


def unpack_block(plane: torch.Tensor, bits: int) -> torch.Tensor:
    """(n, bytes) uint8 of one block of the layout in codes.py -> (n, bytes * 8 / bits) uint8."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=plane.device)[:, None]
    n_tokens, n_bytes = plane.shape
    words = plane.reshape(n_tokens, n_bytes // 4, 1, 4)
    return ((words >> shifts) & ((1 << bits) - 1)).reshape(n_tokens, n_bytes * 8 // bits)


def blocks_of(codes: DeviceCodes, n_planes: int) -> list[tuple[int, int, int, int]]:
    """(plane, first byte, bits, weight of its integer in u) for each block that `n_planes` planes hold."""
    blocks = []
    below = sum(codes.plane_bits[:n_planes])
    for plane, bits in enumerate(codes.plane_bits[:n_planes]):
        first_byte = 0
        for block in block_bits(bits):
            below -= block
            blocks.append((plane, first_byte, block, 1 << below))
            first_byte += codes.padded_dim * block // 8
    return blocks


def _best_similarities(
    values: torch.Tensor, codes: DeviceCodes, ordinals: torch.Tensor, n_planes: int
) -> torch.Tensor:
    """(n, n_query_tokens) float32: each query token's best in each document, -inf where it is empty."""
    starts = codes.offsets[ordinals]
    lengths = codes.offsets[ordinals + 1] - starts
    rows = _token_rows(starts, lengths)
    bits = sum(codes.plane_bits[:n_planes])
    odd = torch.full((len(rows), codes.padded_dim), -(2**bits - 1), dtype=torch.float32, device=codes.device)
    for plane, first_byte, block, weight in blocks_of(codes, n_planes):
        n_bytes = codes.padded_dim * block // 8
        packed = codes.planes[plane][rows, first_byte : first_byte + n_bytes]
        odd += unpack_block(packed, block).float() * (2 * weight)
    widths = codes.widths[n_planes - 1][rows, None]
    similarity = _integer_product(odd, values) * widths * 2.0 ** -(bits + 1)
    return _segment_max(similarity, lengths)


def _integer_product(odd: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """odd @ values.T of integers held as float32: exact, then rounded once to float32."""
    if odd.shape[1] <= _EXACT_DIMS:
        return odd @ values.T
    parts = zip(odd.split(_EXACT_DIMS, dim=1), values.split(_EXACT_DIMS, dim=1))
    total = torch.zeros((len(odd), len(values)), dtype=torch.int32, device=odd.device)
    for left, right in parts:
        total += (left @ right.T).int()
    return total.float()


def _weighted_sum(best: torch.Tensor, scales: torch.Tensor) -> F32:
    """Sum over query tokens in their order, in float64, rounded to float32."""
    if best.device.type == "mps":
        # Apple's GPUs have no float64.
        best, scales = best.cpu(), scales.cpu()
    total = torch.zeros(len(best), dtype=torch.float64, device=best.device)
    for i in range(best.shape[1]):
        total += best[:, i].double() * scales[i].double()
    sums: F32 = total.float().cpu().numpy()
    return sums


def _segment_max(similarity: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Maxima of (n_tokens, n) over consecutive runs of rows: (n_runs, n), -inf for an empty run."""
    runs = torch.repeat_interleave(torch.arange(len(lengths), device=similarity.device), lengths)
    best = torch.full((len(lengths), similarity.shape[1]), -torch.inf, device=similarity.device)
    return best.scatter_reduce_(0, runs[:, None].expand_as(similarity), similarity, "amax")


def _token_rows(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Row numbers of all tokens of the documents, end to end."""
    ends = lengths.cumsum(0)
    first_of_run = torch.repeat_interleave(starts - (ends - lengths), lengths)
    return first_of_run + torch.arange(len(first_of_run), device=starts.device)


def _stacked(queries: Sequence[QuantizedQuery], codes: DeviceCodes) -> tuple[torch.Tensor, torch.Tensor]:
    """All query tokens end to end: values as float32, and scales."""
    if not queries:
        raise KernelInputError("no queries")
    for query in queries:
        if query.padded_dim != codes.padded_dim:
            raise KernelInputError(f"query has {query.padded_dim} padded dims, the codes {codes.padded_dim}")
    values = np.concatenate([query.values for query in queries]).astype(np.float32)
    scales = np.concatenate([query.scales for query in queries])
    return _to_device(values, codes.device), _to_device(scales, codes.device)


def _candidate_chunks(
    codes: DeviceCodes, ordinals: I64, n_query_tokens: int, memory_bytes: int, *, fused: bool
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Positions among the ordinals, and the ordinals on the device, in portions of bounded memory."""
    on_device = _to_device(ordinals, codes.device)
    if fused:
        # Only the (n_docs, n_query_tokens) maxima are written.
        step = max(1, memory_bytes // (8 * n_query_tokens))
        for start in range(0, len(ordinals), step):
            yield slice(start, min(start + step, len(ordinals))), on_device[start : start + step]
        return
    lengths = codes.host_offsets[ordinals + 1] - codes.host_offsets[ordinals]
    # Bytes, their unpacked integers twice, and similarities with their run numbers.
    token_bytes = 10 * codes.padded_dim + 16 * n_query_tokens
    for docs in _chunks(_offsets(lengths), memory_bytes // token_bytes):
        yield docs, on_device[docs]


def _chunks(offsets: I64, n_tokens: int) -> Iterator[slice]:
    """Consecutive documents of at most `n_tokens` tokens together, or one that is longer."""
    start, n_docs = 0, len(offsets) - 1
    while start < n_docs:
        stop = int(np.searchsorted(offsets, offsets[start] + n_tokens, side="right")) - 1
        stop = min(max(stop, start + 1), n_docs)
        yield slice(start, stop)
        start = stop


def _lengths(offsets: I64, docs: slice, device: str | torch.device) -> torch.Tensor:
    return _to_device(np.diff(offsets[docs.start : docs.stop + 1]), device)


def _offsets(doclens: I64) -> I64:
    if not isinstance(doclens, np.ndarray) or doclens.dtype != np.int64 or doclens.ndim != 1:
        raise KernelInputError("doclens: need a 1-d int64 array")
    if (doclens < 0).any():
        raise KernelInputError("doclens: must not be negative")
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(doclens)])


def _checked_ordinals(ordinals: I64 | None, n_docs: int) -> I64:
    if ordinals is None:
        return np.arange(n_docs)
    if ordinals.dtype != np.int64 or ordinals.ndim != 1:
        raise KernelInputError("ordinals: need a 1-d int64 array")
    if len(ordinals) and not 0 <= ordinals.min() <= ordinals.max() < n_docs:
        raise KernelInputError(f"ordinals must be 0..{n_docs - 1}; found {ordinals.min()}..{ordinals.max()}")
    return ordinals


def _to_device(array: NDArray[np.generic], device: str | torch.device) -> torch.Tensor:
    # torch warns of read-only arrays, such as memory maps; only a copy on the CPU would need to be made.
    return torch.as_tensor(np.array(array) if not array.flags.writeable else array).to(device)
