"""Encoding: the embedded model in each precision that this CPU multiplies, on one thread, in turns."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.corpora.beir import read_collection
from benchmarks.corpora.vectors import DATA
from benchmarks.figure import Figure, Measured, Options
from benchmarks.protocol import Timed, interleave, ratio_of_pairs, timed
from benchmarks.render import markdown_table
from benchmarks.result import Row

N_TEXTS, N_AT_ONCE = 400, 40


def run(options: Options) -> Measured:
    from colsearch.encoders.compute import cpu_multiplies_bfloat16
    from colsearch.encoders.embedded import EmbeddedEncoder

    texts = list(read_collection(DATA / "scifact").documents.values())
    n_texts, at_once = (4, 2) if options.smoke else (N_TEXTS, N_AT_ONCE)
    batches = [texts[first : first + at_once] for first in range(0, n_texts, at_once)]
    computes = ["float32", *(["bfloat16"] if cpu_multiplies_bfloat16() else [])]
    encoders = {
        compute: EmbeddedEncoder(compute=compute, n_threads=1)  # type: ignore[arg-type]
        for compute in computes
    }
    exact = [encoders["float32"].encode_document(batch) for batch in batches]
    cosines: dict[str, list[Any]] = {compute: [] for compute in computes}

    def encode(compute: str, batch: int) -> Timed[Any]:
        return timed(lambda: encoders[compute].encode_document(batches[batch]).vectors)

    def check(compute: str, batch: int, vectors: Any) -> None:
        cosines[compute].append(np.einsum("td,td->t", vectors, exact[batch].vectors))

    calls = {compute: partial(encode, compute) for compute in computes}
    times = interleave(calls, len(batches), seed=options.seed, check=check)
    n_tokens = np.array([len(tokens.vectors) for tokens in exact])
    rows: list[Row] = []
    for compute, spent in times.items():
        cosine = np.concatenate(cosines[compute])
        rows.append(
            {
                "compute": compute,
                "tokens_per_cpu_s": round(float(np.median(n_tokens / spent.cpu_ms * 1e3))),
                "checked": bool(cosine.min() > 0.99),
                "token_cosine_mean": round(float(cosine.mean()), 6),
                "token_cosine_lowest": round(float(cosine.min()), 6),
                "float32_over_this": ratio_of_pairs(times["float32"].cpu_ms, spent.cpu_ms).rounded(),
            }
        )
    skipped = [] if len(computes) == 2 else [{"engine": "bfloat16", "why": "not multiplied by this CPU"}]
    config = {"collection": "scifact", "n_texts": n_texts, "n_tokens": int(n_tokens.sum())}
    return Measured(rows, config, skipped=skipped)


COLUMNS = {
    "compute": "computes in",
    "tokens_per_cpu_s": "tokens per CPU-second",
    "float32_over_this": "float32's time / this row's",
    "token_cosine_mean": "cosine with float32's vectors",
    "token_cosine_lowest": "lowest cosine",
}


def table(result: Mapping[str, Any]) -> str:
    return markdown_table(result["rows"], COLUMNS)


FIGURE = Figure(
    "encoding",
    claim="a CPU that multiplies bfloat16 encodes twice as fast, at a token cosine of .9999",
    minutes=3,
    run=run,
    table=table,
)
