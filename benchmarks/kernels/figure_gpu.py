"""Our kernels on a GPU, and torch on the same documents, compared with the rate of copying memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figure import Figure, Measured, Options
from benchmarks.protocol import Timed, interleave, ratio_of_pairs, timed
from benchmarks.render import markdown_table
from colsearch_kernels import reference
from colsearch_kernels.layout.codes import Codes, QuantizedQuery

if TYPE_CHECKING:
    import torch

    from colsearch_kernels.gpu.torch_backend import DeviceCodes

DIM, N_QUERY_TOKENS, K = 128, 32, 10
PLANE_BITS = (4, 4)
N_BATCH, N_CHECKED = 32, 50
PEER, AT_ONCE = "float16: torch, padded", f", {N_BATCH} queries at once"


@dataclass(frozen=True, slots=True)
class Case:
    """Documents of uniformly drawn lengths.

    Attributes:
        n_calls: timed calls of each contestant.
    """

    name: str
    n_docs: int
    shortest: int
    longest: int
    n_calls: int


CASES = (
    Case("5,000 documents of 80 tokens", 5_000, 80, 80, 60),
    Case("30,000 documents of 10 to 70 tokens", 30_000, 10, 70, 60),
    Case("1,000,000 documents of 20 to 100 tokens", 1_000_000, 20, 100, 15),
)
SMOKE = (Case("smoke", 30, 0, 5, 2),)

Hits = tuple[NDArray[np.int64], NDArray[np.float32]]


def run(options: Options) -> Measured:
    import torch

    if not torch.cuda.is_available() and not options.smoke:
        return Measured([], {}, skipped=[{"engine": "CUDA", "why": "torch finds no GPU"}])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    copied = copy_rate(torch.empty(1 << (31 if device == "cuda" else 16), dtype=torch.uint8, device=device))
    rows = [
        row
        for case in (SMOKE if options.smoke else CASES)
        for row in race(case, device, options.seed, copied)
    ]
    config = {
        "dim": DIM,
        "n_query_tokens": N_QUERY_TOKENS,
        "k": K,
        "planes": list(PLANE_BITS),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else "none",
        "copy_bytes_per_ns": round(copied, 1),
    }
    return Measured(rows, config)


def copy_rate(source: "torch.Tensor") -> float:
    """Bytes read and written per nanosecond by a copy on the device; the best of ten."""
    import torch

    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        if source.device.type == "cuda":
            torch.cuda.synchronize()

    copy()
    return 2 * source.numel() / min(timed(copy).wall_ms for _ in range(10)) / 1e6


def race(case: Case, device: str, seed: int, copied: float) -> list[dict[str, Any]]:
    """Time the contestants. A call returns to the host the k best of one query, or of a batch of queries."""
    import torch

    from colsearch_kernels.gpu import torch_backend

    generator = np.random.default_rng([seed, case.n_docs])
    doclens = generator.integers(case.shortest, case.longest + 1, case.n_docs)
    offsets = np.concatenate([[0], np.cumsum(doclens)]).astype(np.int64)
    codes = _random_codes(offsets, device, seed)
    vectors = torch.randn((int(offsets[-1]), DIM), dtype=torch.float16, device=device)
    padded = _padded(vectors, doclens)
    queries = [_random_query(generator) for _ in range(N_BATCH)]
    dense = torch.randn((N_BATCH, N_QUERY_TOKENS, DIM), dtype=torch.float16, device=device)
    scores: dict[str, Callable[[int], Any]] = {
        "codes 4+4": lambda i: torch_backend.score_codes(queries[i], codes),
        "codes 4": lambda i: torch_backend.score_codes(queries[i], codes, n_planes=1),
        "float16": lambda i: torch_backend.maxsim(dense[i], vectors, doclens, device=device),
        PEER: lambda i: padded_scores(dense[i], *padded).cpu().numpy(),
    }
    errors = _errors(scores, codes, queries[0], vectors, dense[0], offsets)
    calls: dict[str, Callable[[int], list[Hits]]] = {
        "codes 4+4": lambda i: [torch_backend.top_k(queries[i], codes, K)],
        f"codes 4+4{AT_ONCE}": lambda i: torch_backend.top_k_batch(queries, codes, K),
        "codes 4": lambda i: [torch_backend.top_k(queries[i], codes, K, n_planes=1)],
        "float16": lambda i: [_best(torch.from_numpy(scores["float16"](i)).to(device))],
        PEER: lambda i: [_best(padded_scores(dense[i], *padded))],
    }
    answers: dict[tuple[str, int], list[Hits]] = {}

    def check(name: str, query: int, found: list[Hits]) -> None:
        for (_, first), (_, again) in zip(answers.setdefault((name, query), found), found):
            np.testing.assert_allclose(again, first, rtol=1e-5)

    times = interleave(
        {name: partial(_timed, call) for name, call in calls.items()}, case.n_calls, seed=seed, check=check
    )
    bytes_per_token = {"codes 4": DIM // 2 + 2, "codes 4+4": DIM + 2} | dict.fromkeys(
        ("float16", PEER), 2 * DIM
    )
    rows = []
    for name, spent in times.items():
        kind = name.removesuffix(AT_ONCE)
        n_queries = 1 if kind == name else N_BATCH
        wall_ms = float(np.median(spent.wall_ms))
        n_bytes = float(offsets[-1]) * bytes_per_token[kind]
        rows.append(
            {
                "case": case.name,
                "engine": name,
                "max_abs_error": errors[kind],
                **spent.summary(),
                "per_query_ms": float(f"{wall_ms / n_queries:.4g}"),
                "bytes_per_token": bytes_per_token[kind],
                "share_of_copy_rate": round(n_bytes / wall_ms / 1e6 / copied, 3),
                "torch_over_ours": None
                if name == PEER
                else (ratio_of_pairs(times[PEER].wall_ms, spent.wall_ms / n_queries).rounded()),
            }
        )
    return rows


def padded_scores(query: "torch.Tensor", padded: "torch.Tensor", outside: "torch.Tensor") -> "torch.Tensor":
    """Score as late-interaction models do: a product with padded documents, a mask, the maxima, their sum."""
    import torch

    best = []
    # The similarities of n documents take a quarter of a gigabyte.
    n = (1 << 27) // (padded.shape[1] * len(query))
    for first in range(0, len(padded), n):
        similarity = torch.einsum("qd,ntd->nqt", query, padded[first : first + n])
        similarity.masked_fill_(outside[first : first + n, None, :], -torch.inf)
        best.append(similarity.amax(dim=2).sum(dim=1, dtype=torch.float32))
    return torch.cat(best)


def _timed(call: Callable[[int], list[Hits]], query: int) -> Timed[list[Hits]]:
    return timed(partial(call, query % N_BATCH))


def _best(scores: "torch.Tensor") -> Hits:
    best = scores.topk(min(K, len(scores)))
    return best.indices.cpu().numpy(), best.values.cpu().numpy()


def _random_codes(offsets: NDArray[np.int64], device: str, seed: int) -> "DeviceCodes":
    """Random bytes as codes, made on the device, since the largest case has eight gigabytes of them."""
    import torch

    from colsearch_kernels.gpu.torch_backend import DeviceCodes

    generator = torch.Generator(device).manual_seed(seed)
    n_tokens = int(offsets[-1])
    options: dict[str, Any] = {"device": device, "generator": generator}
    planes = [
        torch.randint(0, 256, (n_tokens, DIM * bits // 8), dtype=torch.uint8, **options)
        for bits in PLANE_BITS
    ]
    widths = [torch.rand(n_tokens, **options).half() + 0.1 for _ in PLANE_BITS]
    starts = torch.from_numpy(offsets).to(device)
    return DeviceCodes(DIM, PLANE_BITS, tuple(planes), tuple(widths), starts, offsets)


def _random_query(generator: np.random.Generator) -> QuantizedQuery:
    values = generator.integers(-63, 64, (N_QUERY_TOKENS, DIM), dtype=np.int8)
    return QuantizedQuery(values, generator.random(N_QUERY_TOKENS, dtype=np.float32) + np.float32(0.1))


def _padded(vectors: "torch.Tensor", doclens: NDArray[np.int64]) -> tuple["torch.Tensor", "torch.Tensor"]:
    """(n_docs, longest, dim) vectors, zeros beyond each document's end, and a mask of these zeros."""
    import torch

    lengths = torch.from_numpy(doclens).to(vectors.device)
    inside = torch.arange(int(doclens.max()), device=vectors.device)[None, :] < lengths[:, None]
    padded = torch.zeros((*inside.shape, DIM), dtype=vectors.dtype, device=vectors.device)
    padded[inside] = vectors
    return padded, ~inside


def _errors(
    scores: Mapping[str, Callable[[int], Any]],
    codes: "DeviceCodes",
    query: QuantizedQuery,
    vectors: "torch.Tensor",
    dense: "torch.Tensor",
    offsets: NDArray[np.int64],
) -> dict[str, float]:
    """Each contestant's largest error per query token, over some documents.

    Codes are compared with the reference in integers, floats with float64.
    """
    checked = np.linspace(0, len(offsets) - 2, min(N_CHECKED, len(offsets) - 1)).astype(np.int64)
    rows = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in checked])
    doclens = np.diff(offsets)[checked]
    host = Codes(
        DIM,
        PLANE_BITS,
        tuple(plane[rows].cpu().numpy() for plane in codes.planes),
        tuple(width[rows].cpu().numpy().view(np.uint16) for width in codes.widths),
        np.concatenate([[0], np.cumsum(doclens)]).astype(np.int64),
    )
    exact = reference.maxsim(dense.double().cpu().numpy(), vectors[rows].double().cpu().numpy(), doclens)
    expected = {
        "codes 4+4": reference.score_codes(query, host),
        "codes 4": reference.score_codes(query, host, n_planes=1),
        "float16": exact,
        PEER: exact,
    }
    errors = {}
    for name, right in expected.items():
        found = scores[name](0)[checked]
        real = np.isfinite(right)
        np.testing.assert_array_equal(np.isfinite(found), real)
        errors[name] = float(np.abs(found[real] - right[real]).max(initial=0)) / N_QUERY_TOKENS
        # The bound of floats is the rounding of similarities of about 30 to float16.
        assert errors[name] <= (0 if name.startswith("codes") else 0.05), (name, errors[name])
    return errors


COLUMNS = {
    "case": "documents",
    "engine": "engine",
    "per_query_ms": "ms per query, k best on the host",
    "wall_p95_ms": "p95 of a call, ms",
    "bytes_per_token": "bytes/token",
    "share_of_copy_rate": "share of the rate of a copy",
    "torch_over_ours": "time of padded torch / this row's",
    "max_abs_error": "largest error",
}


def table(result: Mapping[str, Any]) -> str:
    return markdown_table(result["rows"], COLUMNS)


FIGURE = Figure(
    "gpu",
    claim="on a GPU, 4-bit codes get the CPU's scores to the bit, faster than torch scores padded float16",
    minutes=2,
    run=run,
    table=table,
)
