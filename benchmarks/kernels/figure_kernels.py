"""Our kernels, torch and maxsim-cpu in turns on the same documents, compared with the machine's peak."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine_process import THREAD_VARIABLES
from benchmarks.environments import NotInstalledError, command_for
from benchmarks.figure import Figure, Measured, Options
from benchmarks.kernels.cases import (
    CACHED,
    CACHED_QUARTER,
    CASES,
    DIM,
    N_QUERY_TOKENS,
    ONE_TOKEN,
    SMOKE,
    Case,
    Data,
    candidates,
    draw,
)
from benchmarks.kernels.worker import IMPLEMENTATIONS
from benchmarks.protocol import ContestantFailedError, Timed, interleave, ratio_of_pairs
from benchmarks.render import markdown_table
from benchmarks.result import Row
from colsearch_kernels import reference

WORKER = Path(__file__).with_name("worker.py")
PEERS = ("maxsim_cpu", "torch_matmul")
# The element type of an implementation; its speed is given as a share of the peak for this type.
ELEMENT = {name: "int8" if name.startswith("codes") else "float32" for name in IMPLEMENTATIONS} | {
    "int8": "int8",
    "bfloat16": "bfloat16",
}
# Bytes that an implementation reads per document token, scale included.
BYTES_PER_TOKEN = dict.fromkeys(IMPLEMENTATIONS, 4.0 * DIM) | {
    "bfloat16": 2.0 * DIM,
    "int8": DIM + 4.0,
    "codes-8": DIM + 2.0,
    "codes-4": DIM / 2 + 2,
    "codes-2": DIM / 4 + 2,
    "codes-1": DIM / 8 + 2,
    "codes-4+4": DIM + 2.0,
}
# Largest allowed error of a score per query token: by rounding for floats, by the number of bits for codes.
LARGEST_ERROR = {
    "bfloat16": 5e-3,
    "int8": 5e-3,
    "codes-8": 2e-3,
    "codes-4+4": 2e-3,
    "codes-4": 0.02,
    "codes-2": 0.08,
    "codes-1": 0.2,
}
FLOAT_ERROR = 1e-4


class Implementation:
    """One worker process; use as a context manager."""

    def __init__(self, name: str, case: Case, options: Options) -> None:
        self.name = name
        command, extra = command_for(name, options.home)
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), **extra}
        (options.home / "logs").mkdir(parents=True, exist_ok=True)
        self.log = options.home / "logs" / f"kernel-{name}.log"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [*command, str(WORKER), name, json.dumps(case.to_json()), str(options.seed)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
        try:
            self._reply()
        except ContestantFailedError:
            self.close()
            raise

    def __enter__(self) -> "Implementation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def score(self, call: int) -> Timed[NDArray[np.float64]]:
        """Make one call.

        Raises: ContestantFailedError: with the last message of a process that died.
        """
        try:
            self.process.stdin.write(f"{call}\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            raise self._death() from None
        reply = self._reply()
        return Timed(np.array(reply["scores"]), reply["wall_ms"], reply["cpu_ms"])

    def close(self) -> None:
        # A process that died before reading its request has been reported already.
        with suppress(BrokenPipeError):
            self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait(timeout=60)
        self.process.stdout.close()  # type: ignore[union-attr]

    def _reply(self) -> dict[str, Any]:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise self._death()
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _death(self) -> ContestantFailedError:
        code = self.process.wait(timeout=60)
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return ContestantFailedError(f"{how}{': ' + last[0][:200] if last else ''}")


def run(options: Options) -> Measured:
    # Imported here because Numba takes half a second to load, which `python -m benchmarks list` should not.
    from benchmarks.kernels.peaks import peaks, stream

    cases = SMOKE if options.smoke else CASES
    best_rates = peaks(seconds=0.02 if options.smoke else 0.5)
    stream_rate = stream(n_bytes=1 << 20, n_passes=1) if options.smoke else stream()
    rows: list[dict[str, Any]] = []
    skipped: list[Row] = []
    for case in cases:
        rows += _race(case, options, best_rates, stream_rate, skipped)
    _add_loop_shares(rows, best_rates)
    config = {
        "cases": [case.to_json() for case in cases],
        "dim": DIM,
        "n_query_tokens": N_QUERY_TOKENS,
        "peak_products_per_cpu_ns": {element: round(rate, 1) for element, rate in best_rates.items()},
        "stream_bytes_per_cpu_ns": round(stream_rate, 2),
    }
    return Measured(rows, config, skipped=skipped)


def _add_loop_shares(rows: list[dict[str, Any]], best_rates: Mapping[str, float]) -> None:
    """Add the loop's share of the peak: the cached case less a quarter of it, so without the fixed cost."""
    quarter_ms = {row["engine"]: row["cpu_median_ms"] for row in rows if row["case"] == CACHED_QUARTER.name}
    n_products = (CACHED.n_docs - CACHED_QUARTER.n_docs) * CACHED.doclen * N_QUERY_TOKENS * DIM
    for row in rows:
        name = row["engine"]
        if row["case"] == CACHED.name and name in quarter_ms and ELEMENT[name] in best_rates:
            loop_ns = 1e6 * (row["cpu_median_ms"] - quarter_ms[name])
            if loop_ns > 0:
                row["loop_share_of_peak"] = round(n_products / loop_ns / best_rates[ELEMENT[name]], 3)


def _race(
    case: Case, options: Options, best_rates: Mapping[str, float], stream_rate: float, skipped: list[Row]
) -> list[dict[str, Any]]:
    data = draw(case, options.seed)
    n_calls = 2 if options.smoke else 7 if case.n_scored > 2_000 else 31
    errors: dict[str, float] = {}
    with ExitStack() as stack:
        opened: dict[str, Callable[[int], Timed[NDArray[np.float64]]]] = {}
        for name in filter(options.wants, IMPLEMENTATIONS):
            if name == "int8" and case.n_candidates is not None:
                continue
            try:
                opened[name] = stack.enter_context(Implementation(name, case, options)).score
            except (ContestantFailedError, NotInstalledError) as error:
                skipped.append({"engine": f"{name} on {case.name}", "why": str(error)})
        check = _checker(case, data, options.seed, errors)
        failures: dict[str, str] = {}
        times = interleave(opened, n_calls, seed=options.seed, check=check, failures=failures)
    skipped += [{"engine": f"{name} on {case.name}", "why": why} for name, why in failures.items()]
    mean_tokens = case.n_scored * float(data.doclens.mean())
    rows = []
    for name, spent in times.items():
        pair_ns = float(np.median(spent.cpu_ms)) * 1e6 / (mean_tokens * N_QUERY_TOKENS)
        row = {
            "case": case.name,
            "engine": name,
            "max_abs_error": errors[name],
            **spent.summary(),
            "cpu_per_token_pair_ns": float(f"{pair_ns:.3g}"),
        }
        if case.repeats == 1:
            read_ns = pair_ns * N_QUERY_TOKENS
            row["share_of_stream"] = round(BYTES_PER_TOKEN[name] / read_ns / stream_rate, 3)
        if ELEMENT[name] in best_rates:
            row["share_of_peak"] = round(DIM / pair_ns / best_rates[ELEMENT[name]], 3)
        for peer in PEERS:
            if peer in times and peer != name:
                row[f"cpu_ratio_of_{peer}"] = ratio_of_pairs(times[peer].cpu_ms, spent.cpu_ms).rounded()
        rows.append(row)
    return rows


def _checker(
    case: Case, data: Data, seed: int, errors: dict[str, float]
) -> Callable[[str, int, NDArray[np.float64]], None]:
    truth = reference.maxsim(data.query, data.vectors, data.doclens).astype(np.float64)

    def check(name: str, call: int, scores: NDArray[np.float64]) -> None:
        ordinals = candidates(case, seed, call)
        expected = truth if ordinals is None else truth[ordinals]
        error = float(np.abs(scores - expected).max()) / N_QUERY_TOKENS
        if not error < LARGEST_ERROR.get(name, FLOAT_ERROR):
            raise ValueError(f"{name} on {case.name}: a score is off by {error} per query token")
        errors[name] = max(errors.get(name, 0.0), error)

    return check


def table(result: Mapping[str, Any]) -> str:
    columns = {
        "case": "case",
        "engine": "kernel",
        "call_us": "CPU µs per call",
        "cpu_per_token_pair_ns": "ns per token pair",
        "share_of_peak": "share of peak",
        "loop_share_of_peak": "share of peak without fixed cost",
        "share_of_stream": "share of memory's rate",
        "cpu_ratio_of_maxsim_cpu": "times faster than maxsim-cpu (interval)",
        "cpu_ratio_of_torch_matmul": "times faster than torch matmul + amax (interval)",
        "max_abs_error": "largest error per query token",
    }
    rows = [{**row, "call_us": 1e3 * row["cpu_median_ms"]} for row in result["rows"]]
    return markdown_table(rows, columns)


# The compact table: kernels with their names in it, and columns with their titles.
_COMPACT = {"float32": "float32", "int8": "int8", "codes-4": "4 bits"}
_COLUMNS = {
    "cpu_per_token_pair_ns": "ns per pair",
    "share_of_peak": "of peak",
    "loop_share_of_peak": "beyond the fixed cost",
    "share_of_stream": "of memory's rate",
    "cpu_ratio_of_maxsim_cpu": "x maxsim-cpu",
    "cpu_ratio_of_torch_matmul": "x torch",
}


def compact(result: Mapping[str, Any]) -> str:
    """A table with one row per case: float32, int8 and 4 bits side by side, without empty columns."""
    rows: dict[str, dict[str, Any]] = {}
    for row in result["rows"]:
        if row["engine"] in _COMPACT:
            shown = rows.setdefault(row["case"], {"case": row["case"]})
            name = _COMPACT[row["engine"]]
            shown.update({f"{name}: {title}": _short(row.get(key)) for key, title in _COLUMNS.items()})
            if row["case"] == ONE_TOKEN.name:
                # The time of a single token measures the least cost of a call, not a rate.
                shown |= {f"{name}: {_COLUMNS[key]}": None for key in ("share_of_peak", "share_of_stream")}
                shown[f"{name}: ns per pair"] = f"{1e3 * row['cpu_median_ms']:.3g} µs a call"
    titles = [f"{name}: {title}" for name in _COMPACT.values() for title in _COLUMNS.values()]
    filled = [title for title in titles if any(row.get(title) is not None for row in rows.values())]
    return markdown_table(list(rows.values()), ["case", *filled])


def _short(value: Any) -> float | None:
    estimate = value[0] if isinstance(value, list) else value
    return None if estimate is None else float(f"{estimate:.2g}")


FIGURE = Figure(
    "kernels",
    claim="float32 MaxSim reaches 0.90 of the machine's peak in cache, and 4-bit codes of scattered "
    "documents cost an eighth of what maxsim-cpu needs for float32",
    minutes=10,
    run=run,
    table=table,
    views={"compact": compact},
)
