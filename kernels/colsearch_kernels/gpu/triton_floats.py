"""Float MaxSim of ragged documents on a GPU in one pass: nothing is padded, and no similarity is written.

Oracle: `reference.maxsim`. Sums are float32; the tensor cores choose the order in which they add products.
"""

import torch
import triton
import triton.language as tl

_TOKENS, _DIMS = 32, 64
# Documents that one program scores.
_DOCUMENTS = 4
_MAX_QUERY_TILE = 64


def maxsim(query: torch.Tensor, vectors: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """(n_docs,) float32 scores of one query; -inf for a document without tokens.

    Args:
        query: (n_query_tokens, dim) float16, bfloat16 or float32, on the GPU like everything here.
        vectors: (n_tokens, dim) of the same type.
        offsets: (n_docs + 1,) int64.
    """
    n_query_tokens, dim = query.shape
    tile = min(_MAX_QUERY_TILE, max(16, triton.next_power_of_2(n_query_tokens)))
    n_docs = len(offsets) - 1
    scores = torch.empty(n_docs, dtype=torch.float32, device=vectors.device)
    if n_docs:
        _maxsim_kernel[(triton.cdiv(n_docs, _DOCUMENTS),)](
            query.contiguous(),
            vectors.contiguous(),
            offsets,
            scores,
            n_docs,
            n_query_tokens,
            DIM=dim,
            TILES=triton.cdiv(n_query_tokens, tile),
            QUERIES=tile,
            DOCUMENTS=_DOCUMENTS,
            TOKENS=_TOKENS,
            DIMS=_DIMS,
            # Tensor cores cannot compute exact products of float32, which therefore take more registers.
            num_warps=4 if query.dtype == torch.float32 else 1 if tile <= 32 else 2,
        )
    return scores


@triton.jit  # type: ignore[untyped-decorator]
def _dims_of(  # type: ignore[no-untyped-def]
    matrix,
    rows,
    RUN: tl.constexpr,
    DIM: tl.constexpr,
    DIMS: tl.constexpr,
):
    """(len(rows), DIMS): one run of dims of these rows, with zeros beyond the last dim."""
    position = RUN * DIMS + tl.arange(0, DIMS)
    address = matrix + rows[:, None] * DIM + position[None, :]
    if DIM % DIMS == 0:
        return tl.load(address)
    return tl.load(address, mask=position[None, :] < DIM, other=0.0)


# Compiled once, whatever the number of documents and of query tokens.
@triton.jit(do_not_specialize=["n_docs", "n_query_tokens"])  # type: ignore[untyped-decorator]
def _maxsim_kernel(  # type: ignore[no-untyped-def]
    query,
    vectors,
    offsets,
    scores,
    n_docs,
    n_query_tokens,
    DIM: tl.constexpr,
    TILES: tl.constexpr,
    QUERIES: tl.constexpr,
    DOCUMENTS: tl.constexpr,
    TOKENS: tl.constexpr,
    DIMS: tl.constexpr,
):
    first_document = tl.program_id(0).to(tl.int64) * DOCUMENTS
    last_document = tl.minimum(first_document + DOCUMENTS, n_docs)
    for tile in range(TILES):
        columns = tile * QUERIES + tl.arange(0, QUERIES)
        # Beyond the last token that token is read again, and not counted.
        asked = tl.minimum(columns, n_query_tokens - 1)
        tiles = ()
        for run in tl.static_range((DIM + DIMS - 1) // DIMS):
            values = _dims_of(query, asked, run, DIM, DIMS).T
            tiles = tiles + (values,)  # type: ignore[assignment]  # noqa: RUF005
        for document in range(first_document, last_document):
            first = tl.load(offsets + document)
            last = tl.load(offsets + document + 1)
            maxima = tl.full((QUERIES,), float("-inf"), dtype=tl.float32)
            # Zero, or NaN if a similarity is NaN or infinite, which a maximum may hide.
            zero_or_nan = 0.0
            for start in range(first, last, TOKENS):
                rows = tl.minimum(start + tl.arange(0, TOKENS), last - 1)
                similarity = tl.zeros((TOKENS, QUERIES), dtype=tl.float32)
                for run in tl.static_range((DIM + DIMS - 1) // DIMS):
                    part = _dims_of(vectors, rows, run, DIM, DIMS)
                    similarity = tl.dot(part, tiles[run], similarity, input_precision="ieee")
                maxima = tl.maximum(maxima, tl.max(similarity, axis=0))
                zero_or_nan += tl.sum(tl.sum(similarity - similarity, axis=0), axis=0)
            total = tl.sum(tl.where(columns < n_query_tokens, maxima, 0.0), axis=0) + zero_or_nan
            if tile > 0:
                total += tl.load(scores + document)
            tl.store(scores + document, total)
