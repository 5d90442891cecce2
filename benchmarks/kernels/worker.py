"""Runs one implementation of MaxSim in a process of its own, because peers crash and start thread pools.

Start it with `python worker.py IMPLEMENTATION CASE_JSON SEED`. Each line of standard input is the number of a
call, and its answer is one JSON line. It needs only NumPy and the implementation.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]

import numpy as np  # noqa: E402

from benchmarks.kernels.cases import Case, Data, candidates, draw  # noqa: E402

# A function from ordinals (None for all documents) to scores.
Scorer = Callable[[Any], Any]


def torch_matmul(data: Data, case: Case) -> Scorer:
    """One matrix product and a maximum over documents padded to the longest."""
    import torch

    lengths = torch.from_numpy(data.doclens)
    padded = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(document) for document in data.documents()], batch_first=True
    )
    outside = torch.arange(padded.shape[1])[None, :] >= lengths[:, None]
    query = torch.from_numpy(data.query).T.contiguous()

    def score(ordinals: Any) -> Any:
        chosen = slice(None) if ordinals is None else torch.from_numpy(ordinals)
        similarity = padded[chosen] @ query
        if case.ragged:
            similarity.masked_fill_(outside[chosen][:, :, None], -torch.inf)
        return similarity.amax(dim=1).sum(dim=1).numpy()

    return score


def torch_backend(data: Data, case: Case) -> Scorer:
    """Our torch path over flat ragged vectors, on the CPU."""
    from colsearch_kernels.gpu import torch_backend as ours

    offsets = data.offsets

    def score(ordinals: Any) -> Any:
        if ordinals is None:
            return ours.maxsim(data.query, data.vectors, data.doclens)
        chosen = np.concatenate([data.vectors[offsets[i] : offsets[i + 1]] for i in ordinals])
        return ours.maxsim(data.query, chosen, data.doclens[ordinals])

    return score


def maxsim_cpu(data: Data, case: Case) -> Scorer:
    import maxsim_cpu as peer

    documents = data.documents()

    def score(ordinals: Any) -> Any:
        chosen = documents if ordinals is None else [documents[i] for i in ordinals]
        return np.asarray(peer.maxsim_scores_variable(data.query, chosen))

    return score


def float32(data: Data, case: Case) -> Scorer:
    from colsearch_kernels import maxsim, maxsim_list

    if case.n_candidates is None:
        return lambda ordinals: maxsim(data.query, data.vectors, data.doclens)
    documents = data.documents()
    return lambda ordinals: maxsim_list(data.query, [documents[i] for i in ordinals])


def bfloat16(data: Data, case: Case) -> Scorer:
    """Documents stored and multiplied as bfloat16."""
    from colsearch_kernels import maxsim, maxsim_list

    bits = data.vectors.view(np.uint32)
    stored = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    if case.n_candidates is None:
        return lambda ordinals: maxsim(data.query, stored, data.doclens, compute="bfloat16")
    documents = np.split(stored, data.offsets[1:-1])
    return lambda ordinals: maxsim_list(data.query, [documents[i] for i in ordinals], compute="bfloat16")


def int8(data: Data, case: Case) -> Scorer:
    """Signed bytes with a scale per token; scores all documents only, since codes serve scattered ones."""
    from colsearch_kernels import maxsim_int8

    scales = np.abs(data.vectors).max(axis=1) / np.float32(127)
    stored = np.rint(data.vectors / scales[:, None]).astype(np.int8)
    return lambda ordinals: maxsim_int8(data.query, stored, scales, data.doclens)


def codes(plane_bits: tuple[int, ...], n_planes: int) -> Callable[[Data, Case], Scorer]:
    def make(data: Data, case: Case) -> Scorer:
        from colsearch_kernels import score_codes
        from colsearch_kernels.layout.codes import Codes
        from colsearch_kernels.layout.quantize import encode, quantize_query

        planes, widths = encode(data.vectors, plane_bits, 1)
        stored = Codes(data.vectors.shape[1], plane_bits, planes, widths, data.offsets)

        def score(ordinals: Any) -> Any:
            # Quantizing the query is timed too, since every search does it.
            query = quantize_query(data.query, plane_bits, 1)
            return score_codes(query, stored, ordinals=ordinals, n_planes=n_planes)

        return score

    return make


IMPLEMENTATIONS: dict[str, Callable[[Data, Case], Scorer]] = {
    "float32": float32,
    "bfloat16": bfloat16,
    "int8": int8,
    "codes-8": codes((8,), 1),
    "codes-4": codes((4,), 1),
    "codes-2": codes((2,), 1),
    "codes-1": codes((1,), 1),
    "codes-4+4": codes((4, 4), 2),
    "torch_matmul": torch_matmul,
    "torch_backend": torch_backend,
    "maxsim_cpu": maxsim_cpu,
}


def main(implementation: str, case_json: str, seed: str) -> None:
    # Only answers may go to standard output. Output of libraries is sent to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    case = Case(**json.loads(case_json))
    if implementation.startswith("torch"):
        import torch

        torch.set_num_threads(1)
    score = IMPLEMENTATIONS[implementation](draw(case, int(seed)), case)
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        ordinals = candidates(case, int(seed), int(line))
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(case.repeats):
            scores = score(ordinals)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        wall, cpu = wall / case.repeats, cpu / case.repeats
        answer = {"cpu_ms": cpu * 1e3, "wall_ms": wall * 1e3, "scores": np.asarray(scores, float).tolist()}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
