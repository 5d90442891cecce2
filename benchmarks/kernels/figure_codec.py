"""The codec: the share of the float32 ranking that each choice of planes keeps, and the speed of encoding."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpora.vectors import workload
from benchmarks.exact import Reference
from benchmarks.figure import Figure, Measured, Options
from benchmarks.ours import bytes_of_planes
from benchmarks.protocol import mean_interval, timed
from benchmarks.render import markdown_table
from benchmarks.result import Row
from benchmarks.workload import Workload
from colsearch.codec.rotated import RotatedCodec
from colsearch_kernels.layout.codes import Codes

COLLECTION = "scifact"
PLANES = ((8,), (4,), (2,), (1,), (4, 4), (2, 6))
N_QUERIES = 200
TOP = 10
# The score error is measured on this many best documents, since they make up a ranking.
N_BEST = 50
N_SPEED_TOKENS = 50_000
N_SPEED_CALLS = 5


def run(options: Options) -> Measured:
    work = workload(COLLECTION, options)
    reference = Reference(work.folder)
    rows = [row for planes in PLANES for row in _rows(work, reference, planes)]
    return Measured(rows, {"collection": COLLECTION, "dim": work.dim, "n_queries": N_QUERIES, "top": TOP})


def _rows(work: Workload, reference: Reference, planes: tuple[int, ...]) -> Iterator[Row]:
    codec = RotatedCodec(work.dim, planes)
    speed = _tokens_per_cpu_second(codec, work)
    encoded = codec.encode(np.asarray(work.docs, np.float32))
    codes = Codes(work.dim, planes, encoded.planes, encoded.widths, work.offsets)
    for n_planes in range(1, len(planes) + 1):
        scores = _scores(codec, codes, work.queries[:N_QUERIES], n_planes)
        overlaps, errors = [], []
        for query, row in enumerate(scores):
            best = np.lexsort((np.arange(len(row)), -row))[:TOP]
            overlaps.append(reference.recall(query, best.tolist(), TOP))
            ids = reference.ids[query, :N_BEST]
            errors.append((row[ids] - reference.scores[query, :N_BEST]) / len(work.queries[query]))
        overlap = mean_interval(overlaps).rounded()
        plane_bytes = bytes_of_planes(encoded)
        yield {
            "planes": "+".join(map(str, planes)),
            "planes_read": n_planes,
            "memory_bytes_per_token": float(plane_bytes[0]),
            "disk_bytes_per_token": float(sum(plane_bytes)),
            f"overlap@{TOP}": overlap[0],
            f"overlap@{TOP}_interval": overlap[1:],
            "rms_error_per_query_token": float(f"{np.sqrt(np.mean(np.square(errors))):.3g}"),
            "mean_error_per_query_token": float(f"{np.mean(errors):.2g}"),
            "encoded_tokens_per_cpu_s": speed,
        }


def _scores(
    codec: RotatedCodec, codes: Codes, queries: list[NDArray[np.float32]], n_planes: int
) -> NDArray[np.float32]:
    """(n_queries, n_docs) scores by the torch path, which equals the reference bit for bit."""
    from colsearch_kernels.gpu import torch_backend

    on_device = torch_backend.DeviceCodes.copy_of(codes, "cpu")
    prepared = [codec.prepare_query(query) for query in queries]
    parts = [
        torch_backend.score_codes_batch(prepared[first : first + 32], on_device, n_planes=n_planes)
        for first in range(0, len(prepared), 32)
    ]
    return np.concatenate(parts)


def _tokens_per_cpu_second(codec: RotatedCodec, work: Workload) -> float:
    vectors = np.asarray(work.docs[:N_SPEED_TOKENS], np.float32)
    codec.encode(vectors[:1])
    cpu_ms = np.median([timed(lambda: codec.encode(vectors)).cpu_ms for _ in range(N_SPEED_CALLS)])
    return float(f"{len(vectors) / cpu_ms * 1e3:.3g}")


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "planes": "planes (bits)",
        "planes_read": "planes read",
        "memory_bytes_per_token": "bytes/token in memory",
        "disk_bytes_per_token": "on disk",
        f"overlap@{TOP}": f"overlap of the first {TOP} with float32",
        f"overlap@{TOP}_interval": "interval",
        "rms_error_per_query_token": "score error per query token",
        "mean_error_per_query_token": "its mean",
        "encoded_tokens_per_cpu_s": "tokens encoded per CPU second",
    }
    return markdown_table(result["rows"], columns)


FIGURE = Figure(
    "codec",
    claim="the second plane of (4, 4) restores 8 bits' ranking; a CPU second encodes a million tokens",
    minutes=10,
    run=run,
    table=table,
)
