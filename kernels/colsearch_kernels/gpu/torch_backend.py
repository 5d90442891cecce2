"""MaxSim on any torch device, over floats and over codes that live on the device.

It is loaded only when asked for: `from colsearch_kernels.gpu import torch_backend`. Over codes the scores are those of
`reference.py` to the bit: products of small integers are exact in float32, and operations that round are done in the
same order. Over floats the scores differ by rounding.

On CUDA with Triton 3.4 or newer, `triton_codes` and `triton_floats` read documents once and never write a similarity.
Elsewhere codes are decoded, and similarities are kept, in chunks of bounded memory.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from colsearch_kernels.arguments import F32, I64
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.gpu.device_codes import DeviceCodes, device_bytes, to_device
from colsearch_kernels.layout.codes import QuantizedQuery, checked_n_planes, stored_blocks

__all__ = [
    "DeviceCodes",
    "device_bytes",
    "maxsim",
    "score_codes",
    "score_codes_batch",
    "top_k",
    "top_k_batch",
]

DEFAULT_MEMORY_BYTES = 256 << 20
# The fused kernels were tested with this version and with newer ones.
_OLDEST_TRITON = (3, 4)
# With more dims, a query does not fit into the memory where the fused kernel holds it.
_MAX_FUSED_DIM = 1024
_FUSED_TYPES = (torch.float32, torch.float16, torch.bfloat16)
# Over this many dims, sums of |q| <= 63 times |2u - 255| <= 255 stay below 2**24: exact in float32.
_EXACT_DIMS = 1024


def maxsim(
    query: F32 | torch.Tensor,
    vectors: F32 | torch.Tensor,
    doclens: I64,
    *,
    device: str | torch.device = "cpu",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    fused: bool | None = None,
) -> F32:
    """Float MaxSim of one query against ragged documents; nothing is padded.

    Args:
        query: (n_query_tokens, dim), of the floating type to compute in.
        vectors: (n_tokens, dim) of the same type; copied to the device chunk by chunk where it is not there.
        doclens: (n_docs,) tokens per document; sums to n_tokens.
        memory_bytes: limit of what is copied to the device and computed there; one long document may exceed it.
        fused: use the Triton kernel where it takes the type; None does so on CUDA when Triton 3.4 is installed.
    Returns: (n_docs,) float32; -inf for a document without tokens.
    Raises: KernelInputError: also for NaN, infinity or overflow, which show in the scores.
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
    fused = _fused(queries.device, queries.shape[1]) if fused is None else fused
    fused &= queries.dtype in _FUSED_TYPES
    copied = 0 if tokens.device == queries.device else tokens.element_size() * tokens.shape[1]
    token_bytes = copied + (0 if fused else 8 * len(queries))
    scores = np.empty(len(doclens), np.float32)
    for docs in _chunks(offsets, memory_bytes // max(token_bytes, 1)):
        rows = tokens[offsets[docs.start] : offsets[docs.stop]].to(device)
        if fused:
            from colsearch_kernels.gpu import triton_floats

            starts = to_device(offsets[docs.start : docs.stop + 1] - offsets[docs.start], device)
            found = triton_floats.maxsim(queries, rows, starts)
        else:
            lengths = to_device(np.diff(offsets[docs.start : docs.stop + 1]), device)
            found = _summed_maxima((rows @ queries.T).float(), lengths)
        scores[docs] = found.cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(scores) & (doclens > 0))
    if len(bad):
        if not bool(queries.isfinite().all()):
            raise KernelInputError("the query holds NaN or infinity")
        raise KernelInputError(
            f"document {bad[0]} and {len(bad) - 1} more hold NaN or infinity, or overflow {queries.dtype}"
        )
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
        fused: use the Triton kernel, up to 1,024 dims; None does so on CUDA devices when Triton 3.4 is installed.
    Raises: KernelInputError: ordinals or a query that do not fit.
    """
    chosen = _checked_ordinals(ordinals, codes.n_docs)
    scores: F32 = _scores(queries, codes, chosen, n_planes, memory_bytes, fused).cpu().numpy()
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


def top_k_batch(
    queries: Sequence[QuantizedQuery],
    codes: DeviceCodes,
    k: int,
    *,
    ordinals: I64 | None = None,
    live: NDArray[np.bool_] | None = None,
    n_planes: int | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    fused: bool | None = None,
) -> list[tuple[I64, F32]]:
    """For each query, ordinals and scores of the k best live documents with tokens, best first.

    Equal scores come by ascending ordinal. Only the k best leave the device.

    Args:
        ordinals: the documents to choose from, each once; all if None.
        live: (n_docs,) which documents may be found.
    Raises: KernelInputError.
    """
    chosen = _checked_ordinals(ordinals, codes.n_docs)
    dead = None if live is None else ~to_device(live, codes.device)
    # Memory per query and document: the scores, and room for choosing among them.
    at_once = max(1, memory_bytes // (32 * max(len(chosen), 1)))
    on_device = _on_device(chosen, codes)
    found: list[tuple[I64, F32]] = []
    for first in range(0, len(queries), at_once):
        scores = _scores(queries[first : first + at_once], codes, chosen, n_planes, memory_bytes, fused)
        if dead is not None:
            scores.masked_fill_(dead[on_device], -torch.inf)
        found += _best(scores, on_device, min(k, len(chosen)))
    return found


def top_k(
    query: QuantizedQuery,
    codes: DeviceCodes,
    k: int,
    *,
    ordinals: I64 | None = None,
    live: NDArray[np.bool_] | None = None,
    n_planes: int | None = None,
    fused: bool | None = None,
) -> tuple[I64, F32]:
    """`top_k_batch` of one query."""
    [best] = top_k_batch([query], codes, k, ordinals=ordinals, live=live, n_planes=n_planes, fused=fused)
    return best


def unpack_block(plane: torch.Tensor, bits: int) -> torch.Tensor:
    """(n, bytes) uint8 of one block of the layout in codes.py -> (n, bytes * 8 / bits) uint8."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=plane.device)[:, None]
    n_tokens, n_bytes = plane.shape
    words = plane.reshape(n_tokens, n_bytes // 4, 1, 4)
    return ((words >> shifts) & ((1 << bits) - 1)).reshape(n_tokens, n_bytes * 8 // bits)


def _scores(
    queries: Sequence[QuantizedQuery],
    codes: DeviceCodes,
    ordinals: I64 | range,
    n_planes: int | None,
    memory_bytes: int,
    fused: bool | None,
) -> torch.Tensor:
    """(n_queries, n) float32 on the device of the codes."""
    n_planes = checked_n_planes(n_planes, codes.plane_bits)
    if not queries:
        raise KernelInputError("no queries")
    for query in queries:
        if query.padded_dim != codes.padded_dim:
            raise KernelInputError(f"query has {query.padded_dim} padded dims, the codes {codes.padded_dim}")
    if fused is None:
        fused = _fused(codes.device, codes.padded_dim)
    if fused:
        if codes.padded_dim > _MAX_FUSED_DIM:
            raise KernelInputError(f"the fused kernel takes {_MAX_FUSED_DIM} dims, not {codes.padded_dim}")
        from colsearch_kernels.gpu import triton_codes

        return triton_codes.scores(queries, codes, _on_device(ordinals, codes), n_planes, memory_bytes)
    return _decoded_scores(queries, codes, ordinals, n_planes, memory_bytes)


def _fused(device: torch.device, dim: int) -> bool:
    return device.type == "cuda" and dim <= _MAX_FUSED_DIM and _triton_is_usable()


@cache
def _triton_is_usable() -> bool:
    if importlib.util.find_spec("triton") is None:
        return False
    import triton

    return tuple(map(int, triton.__version__.split(".")[:2])) >= _OLDEST_TRITON


def _decoded_scores(
    queries: Sequence[QuantizedQuery],
    codes: DeviceCodes,
    ordinals: I64 | range,
    n_planes: int,
    memory_bytes: int,
) -> torch.Tensor:
    values = to_device(np.concatenate([query.values for query in queries]), codes.device).float()
    scales = [to_device(query.scales, codes.device) for query in queries]
    lengths = codes.host_offsets[1:] - codes.host_offsets[:-1]
    if not isinstance(ordinals, range):
        lengths = lengths[ordinals]
    on_device = _on_device(ordinals, codes)
    scores = torch.empty((len(queries), len(ordinals)), dtype=torch.float32, device=codes.device)
    # Memory per token: its bytes, the unpacked integers twice, and similarities with their run numbers.
    token_bytes = 10 * codes.padded_dim + 16 * len(values)
    for docs in _chunks(_offsets(lengths), memory_bytes // token_bytes):
        best = _best_similarities(values, codes, on_device[docs], n_planes)
        of_query = best.split([len(query) for query in queries], dim=1)
        for row, maxima, scale in zip(scores, of_query, scales):
            row[docs] = _weighted_sum(maxima, scale)
    return scores.masked_fill_(to_device(lengths == 0, codes.device), -torch.inf)


def _best(scores: torch.Tensor, ordinals: torch.Tensor, k: int) -> list[tuple[I64, F32]]:
    """The k best of each row, best first; a score of -inf is none.

    torch does not say which of equal scores it takes. Asking for one more than k shows whether a score beyond the k-th
    equals it; then all documents with this score are compared.
    """
    if k == 0:
        return [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(scores)
    highest, places = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    both = torch.stack([highest.view(torch.int32).long(), ordinals[places]]).cpu().numpy()
    best = []
    for i, (values, found) in enumerate(zip(both[0].astype(np.int32).view(np.float32), both[1])):
        if len(values) > k and values[k] == values[k - 1] > -np.inf:
            reaching = scores[i] >= values[k].item()
            values, found = scores[i][reaching].cpu().numpy(), ordinals[reaching].cpu().numpy()
        order = np.lexsort((found, -values))
        order = order[values[order] > -np.inf][:k]
        best.append((found[order], values[order]))
    return best


def _best_similarities(
    values: torch.Tensor, codes: DeviceCodes, ordinals: torch.Tensor, n_planes: int
) -> torch.Tensor:
    """(n, n_query_tokens) float32: each query token's best in each document, -inf where it is empty."""
    starts = codes.offsets[ordinals]
    lengths = codes.offsets[ordinals + 1] - starts
    rows = _token_rows(starts, lengths)
    bits = sum(codes.plane_bits[:n_planes])
    odd = torch.full((len(rows), codes.padded_dim), -(2**bits - 1), dtype=torch.float32, device=codes.device)
    for block in stored_blocks(codes.plane_bits[:n_planes], codes.padded_dim):
        n_bytes = codes.padded_dim * block.bits // 8
        packed = codes.planes[block.plane][rows, block.first_byte : block.first_byte + n_bytes]
        odd += unpack_block(packed, block.bits).float() * (2 << block.bits_below)
    widths = codes.widths[n_planes - 1][rows, None].float()
    similarity = _integer_product(odd, values) * widths * 2.0 ** -(bits + 1)
    return _segment_max(similarity, lengths)


def _integer_product(odd: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """odd @ values.T of integers held as float32: exact, then rounded once to float32.

    TensorFloat-32, where it is switched on, also holds these integers of at most 8 bits exactly.
    """
    if odd.shape[1] <= _EXACT_DIMS:
        return odd @ values.T
    parts = zip(odd.split(_EXACT_DIMS, dim=1), values.split(_EXACT_DIMS, dim=1))
    total = torch.zeros((len(odd), len(values)), dtype=torch.int32, device=odd.device)
    for left, right in parts:
        total += (left @ right.T).int()
    return total.float()


def _weighted_sum(best: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Sum over query tokens in their order, in float64, rounded to float32."""
    device = best.device
    if device.type == "mps":
        # Apple's GPUs have no float64.
        best, scales = best.cpu(), scales.cpu()
    total = torch.zeros(len(best), dtype=torch.float64, device=best.device)
    for i in range(best.shape[1]):
        total += best[:, i].double() * scales[i].double()
    return total.float().to(device)


def _summed_maxima(similarity: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(n_runs,) float32 MaxSim of runs of rows; NaN for one with a similarity that is NaN or infinite."""
    # This is a sum of zeros, or NaN. A similarity of minus infinity would not show in the maxima.
    nothing = _segment_max((similarity - similarity).sum(dim=1, keepdim=True), lengths)[:, 0]
    scores = _segment_max(similarity, lengths).sum(dim=1)
    return torch.where(nothing.isnan(), nothing, scores)


def _segment_max(similarity: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Maxima of (n_tokens, n) over consecutive runs of rows: (n_runs, n), -inf for an empty run."""
    if similarity.device.type == "cuda":
        # This takes a third of the time of `scatter_reduce_` on CUDA, but three times as long on the CPU.
        return torch.segment_reduce(similarity, "max", lengths=lengths, unsafe=True, initial=-torch.inf)
    runs = torch.repeat_interleave(torch.arange(len(lengths), device=similarity.device), lengths)
    best = torch.full((len(lengths), similarity.shape[1]), -torch.inf, device=similarity.device)
    return best.scatter_reduce_(0, runs[:, None].expand_as(similarity), similarity, "amax")


def _token_rows(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Row numbers of all tokens of the documents, end to end; `ragged.indices_of_ranges` on the device."""
    ends = lengths.cumsum(0)
    first_of_run = torch.repeat_interleave(starts - (ends - lengths), lengths)
    return first_of_run + torch.arange(len(first_of_run), device=starts.device)


def _chunks(offsets: I64, n_tokens: int) -> Iterator[slice]:
    """Consecutive documents of at most `n_tokens` tokens together, or one that is longer."""
    start, n_docs = 0, len(offsets) - 1
    while start < n_docs:
        stop = int(np.searchsorted(offsets, offsets[start] + n_tokens, side="right")) - 1
        stop = min(max(stop, start + 1), n_docs)
        yield slice(start, stop)
        start = stop


def _offsets(doclens: I64) -> I64:
    if not isinstance(doclens, np.ndarray) or doclens.dtype != np.int64 or doclens.ndim != 1:
        raise KernelInputError("doclens: need a 1-d int64 array")
    if (doclens < 0).any():
        raise KernelInputError("doclens: must not be negative")
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(doclens)])


def _checked_ordinals(ordinals: I64 | None, n_docs: int) -> I64 | range:
    if ordinals is None:
        return range(n_docs)
    if ordinals.dtype != np.int64 or ordinals.ndim != 1:
        raise KernelInputError("ordinals: need a 1-d int64 array")
    if len(ordinals) and not 0 <= ordinals.min() <= ordinals.max() < n_docs:
        raise KernelInputError(f"ordinals must be 0..{n_docs - 1}; found {ordinals.min()}..{ordinals.max()}")
    return ordinals


def _on_device(ordinals: I64 | range, codes: DeviceCodes) -> torch.Tensor:
    if isinstance(ordinals, range):
        return torch.arange(len(ordinals), device=codes.device)
    return to_device(ordinals, codes.device)
