"""Malformed fields with valid checksums give a typed error or change nothing; no call crashes or hangs."""

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import ColsearchError
from colsearch.store.check import check_folder
from colsearch.store.container import Container
from colsearch.store.repair import repair_folder
from colsearch.store.segment import Segment
from tests.support import world
from tests.support.children import run_in_child
from tests.support.clusters import cluster_documents, draw_kinds, draw_queries
from tests.support.memory import address_space_bytes
from tests.support.prefilters import use_small_prefilters
from tests.torture import forge
from tests.torture.forge import Arrays
from tests.torture.subject import MORE_MEMORY_BYTES, Subject

BATCH = 20


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # The write after a forged model fits another, which is most of the time that these tests take.
        use_small_prefilters(patch, cheap_scan_ns=1e5, n_probes=256, n_landmarks=64, n_dims=96)
        yield


@dataclass(frozen=True, slots=True)
class Forgery:
    """A change to a copy of an index; a `harmless` one changes no answer, and `check` may overlook it."""

    name: str
    apply: Callable[[Path], object]
    harmless: bool = False


def segment_of(folder: Path) -> Path:
    return max((folder / "segments").glob("*.seg"), key=lambda path: Segment(path).n_docs)


def header_forgeries() -> Iterator[Forgery]:
    def at_segment(edit: Callable[[dict], object]) -> Callable[[Path], object]:
        def apply(folder: Path) -> None:
            path = segment_of(folder)
            forge.rename(folder, path.name, forge.with_header(path, edit))

        return apply

    huge = [-1, 2**31, 2**62, 2**63, 10**30, 1.5, "7", None, True, [], {}, float("nan")]
    for value in huge:
        for key in ("offset", "n_blocks"):
            yield Forgery(
                f"checksums.{key} = {value!r}",
                at_segment(lambda h, value=value, key=key: h["checksums"].update({key: value})),
            )
        yield Forgery(
            f"offset = {value!r}", at_segment(lambda h, value=value: h["sections"][2].update(offset=value))
        )
        yield Forgery(
            f"shape = [{value!r}]", at_segment(lambda h, value=value: h["sections"][2].update(shape=[value]))
        )
        yield Forgery(
            f"shape = {value!r}", at_segment(lambda h, value=value: h["sections"][0].update(shape=value))
        )
        yield Forgery(
            f"dtype = {value!r}", at_segment(lambda h, value=value: h["sections"][3].update(dtype=value))
        )
        yield Forgery(
            f"name = {value!r}", at_segment(lambda h, value=value: h["sections"][3].update(name=value))
        )
        yield Forgery(f"sections = {value!r}", at_segment(lambda h, value=value: h.update(sections=value)))
        yield Forgery(f"checksums = {value!r}", at_segment(lambda h, value=value: h.update(checksums=value)))
        yield Forgery(f"meta = {value!r}", at_segment(lambda h, value=value: h.update(meta=value)))
        yield Forgery(
            f"settings = {value!r}", at_segment(lambda h, value=value: h["meta"].update(settings=value))
        )
        yield Forgery(f"kind = {value!r}", at_segment(lambda h, value=value: h["meta"].update(kind=value)))
        yield Forgery(
            f"the header is {value!r}", at_segment(lambda h, value=value: value if value is not None else 0)
        )
    for dtype in ("|O", "<f8", ">i8", "|V8", "<U4", "object", "<i8,<i8", ""):
        yield Forgery(
            f"dtype = {dtype!r}", at_segment(lambda h, dtype=dtype: h["sections"][4].update(dtype=dtype))
        )
    for shape in ([], [0], [1, 1], [2**32, 2**32], [2**63 - 1] * 9, [-1, -1], [1] * 200, [[1]]):
        yield Forgery(
            f"shape = {str(shape)[:40]}",
            at_segment(lambda h, shape=shape: h["sections"][0].update(shape=shape)),
        )
    for key in ("sections", "checksums", "meta"):
        yield Forgery(f"no {key}", at_segment(lambda h, key=key: h.pop(key) and None))
    for key in ("name", "dtype", "shape", "offset"):
        yield Forgery(
            f"a section without {key}", at_segment(lambda h, key=key: h["sections"][1].pop(key) and None)
        )
    yield Forgery("two sections of a name", at_segment(lambda h: h["sections"][1].update(name="plane0")))
    yield Forgery("sections in another order", at_segment(lambda h: h["sections"].reverse()))
    yield Forgery("checksum of checksums", at_segment(lambda h: h["checksums"].update(xxh3="0" * 16)))
    for raw in (
        b"",
        b"[" * 15000,
        b"{" * 15000,
        b'{"a":' * 3000,
        b"\xff\xfe",
        b"nul",
        b'{"meta":{}}',
        b'"\xed\xa0\x80"',
    ):
        yield Forgery(
            f"the header is {raw[:12]!r}",
            lambda folder, raw=raw: forge.rename(
                folder, segment_of(folder).name, forge.with_raw_header(segment_of(folder), raw)
            ),
        )


def array_forgeries() -> Iterator[Forgery]:
    def at_segment(edit: Callable[[Arrays], object]) -> Callable[[Path], object]:
        def apply(folder: Path) -> None:
            path = segment_of(folder)
            forge.rename(folder, path.name, forge.with_arrays(path, edit))

        return apply

    names = ["plane0", "plane1", "width0", "width1", "offsets", "doc_nos", "ids", "ids_offsets", "texts",
             "texts_offsets", "has_text", "metadata", "metadata_offsets"]  # fmt: skip
    shapes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "cut": lambda a: a[:-1],
        "longer": lambda a: np.concatenate([a, a[-1:]]),
        "empty": lambda a: a[:0],
        "flat": lambda a: a.reshape(-1, 1) if a.ndim == 1 else a.ravel(),
        "of another dtype": lambda a: a.astype("<f4"),
    }
    for name in names:
        yield Forgery(f"no {name}", at_segment(lambda a, name=name: a.pop(name)))
        for how, edit in shapes.items():
            yield Forgery(
                f"{name} is {how}",
                at_segment(lambda a, name=name, edit=edit: a.update({name: edit(a[name])})),
            )
    numbers = [-1, 1, 2**31, 2**62, -(2**62), 2**63 - 1, -(2**63)]
    for name in ("offsets", "ids_offsets", "texts_offsets", "metadata_offsets", "doc_nos"):
        for at in (0, 3, -1):
            for value in numbers:
                if name == "doc_nos" and at == -1 and value == 2**62:
                    continue
                yield Forgery(
                    f"{name}[{at}] = {value}",
                    at_segment(lambda a, value=value, name=name, at=at: a[name].__setitem__(at, value)),
                )
        yield Forgery(
            f"{name} descends", at_segment(lambda a, name=name: a.update({name: a[name][::-1].copy()}))
        )
        yield Forgery(f"{name} is constant", at_segment(lambda a, name=name: a[name].fill(0)))
    for bits in (0x7C00, 0x7E00, 0x8001, 0xFC00, 0xFFFF):
        yield Forgery(
            f"a width of {bits:#x}", at_segment(lambda a, bits=bits: a["width0"].__setitem__(2, bits))
        )
    for value in (2, 255):
        yield Forgery(
            f"has_text = {value}",
            at_segment(lambda a, value=value: a["has_text"].__setitem__(0, value)),
            harmless=True,
        )
    blobs = [
        b"",
        b"null",
        b"true",
        b"[]",
        b"{}",
        b"1.5",
        b"NaN",
        b'"',
        b"\xff",
        b'"\\ud800"',
        b"[" * 9000,
        b"9" * 5000,
    ]
    for name in ("ids", "texts", "metadata"):
        for blob in blobs:
            if name == "texts" and blob != b"\xff":
                continue
            yield Forgery(
                f"{name}[0] = {blob[:10]!r}", at_segment(lambda a, name=name, blob=blob: replace_first(a, name, blob)),
                harmless=name == "metadata" and blob == b"{}",
            )  # fmt: skip
    for shape in ((5, 2), (0, 2), (7,), (3, 3)):
        for dtype in ("<i2", "<i4", "<f4"):
            yield Forgery(
                f"spans of {shape} {dtype}",
                at_segment(lambda a, dtype=dtype, shape=shape: a.update(spans=np.zeros(shape, dtype))),
            )
    yield Forgery(
        "wild spans", at_segment(lambda a: a.update(spans=wild_spans(len(a["plane0"])))), harmless=True
    )
    yield Forgery("a ninth plane", at_segment(lambda a: a.update(plane2=a["plane0"], width2=a["width0"])))
    yield Forgery("narrower planes", at_segment(lambda a: a.update(plane0=a["plane0"][:, :-1].copy())))


def replace_first(arrays: Arrays, name: str, blob: bytes) -> None:
    data, offsets = arrays[name], arrays[f"{name}_offsets"]
    arrays[name] = np.concatenate([np.frombuffer(blob, np.uint8), data[offsets[1] :]])
    arrays[f"{name}_offsets"] = np.concatenate([[0], offsets[1:] - offsets[1] + len(blob)])


def wild_spans(n_tokens: int) -> np.ndarray:
    spans = np.zeros((n_tokens, 2), np.int32)
    spans[::2] = 2**31 - 1, -(2**31)
    return spans


def sqlite_forgeries() -> Iterator[Forgery]:
    def at_state(key: str, value: object) -> Callable[[Path], object]:
        return lambda folder: forge.change(
            folder, "UPDATE state SET value = :v WHERE key = :k", v=value, k=key
        )

    settings = {"dim": 16, "planes": [4, 4], "seed": 20260, "encoder": "", "fingerprint": None}
    wild: list[Any] = [-1, 0, 10**9, 2**63, 1.5, "16", None, [], {}, [[4]], True]
    for key in ("dim", "planes", "seed"):
        for value in wild:
            yield Forgery(f"{key} = {value!r}", at_state("settings", json.dumps(settings | {key: value})))
        yield Forgery(
            f"no {key}", at_state("settings", json.dumps({k: v for k, v in settings.items() if k != key}))
        )
    yield Forgery("a setting too many", at_state("settings", json.dumps(settings | {"planet": 1})))
    for value in ("", "[]", "7", "[" * 50_000, "{", b"{}", 7, 1.5):
        yield Forgery(f"settings = {str(value)[:9]!r}", at_state("settings", value))
    for value in (-2, 0, "x", 1.5, b"9", 2**62):
        yield Forgery(f"visible = {value!r}", at_state("visible", value), harmless=value == 2**62)
    for value in (0, -1, "1", 1.5, 2, 2**40):
        yield Forgery(f"format_version = {value!r}", at_state("format_version", value))
    for key in ("settings", "visible", "format_version"):
        yield Forgery(
            f"no {key}",
            lambda folder, key=key: forge.change(folder, "DELETE FROM state WHERE key = :k", k=key),
        )
    names = [
        "../index.sqlite",
        "/etc/passwd",
        "",
        "a" * 32 + ".seg",
        "x.seg",
        7,
        None,
        b"x",
        "index.sqlite",
        "." * 5000,
    ]
    for table, column in (("segments", "name"), ("models", "name"), ("prefilters", "name")):
        for name in names:
            yield Forgery(
                f"{table}.{column} = {str(name)[:20]!r}",
                lambda folder, t=table, c=column, n=name: forge.change(
                    folder, f"UPDATE OR IGNORE {t} SET {c} = CAST(:n AS BLOB) || '' WHERE rowid = 1"
                    if t == "none" else f"UPDATE OR REPLACE {t} SET {c} = coalesce(:n, '')", n=name,
                ),
            )  # fmt: skip
    for column in ("n_docs", "n_tokens", "first_doc_no"):
        for value in (-1, 77, 2**62):
            yield Forgery(
                f"segments.{column} = {value}",
                lambda folder, c=column, v=value: forge.change(
                    folder, f"UPDATE OR IGNORE segments SET {c} = :v", v=v
                ),
            )
    for notes in ("", "[]", "{}", '{"recall": 7}', "[" * 50_000, '{"recall": {"z": "x"}}'):
        yield Forgery(f"notes = {notes[:12]!r}", lambda folder, n=notes: forge.change(folder, "UPDATE models SET notes = :n", n=n),
                      harmless=True)  # fmt: skip
    yield Forgery(
        "all models are current",
        lambda folder: forge.change(folder, "UPDATE models SET current = 1"),
        harmless=True,
    )


def ask_all(path: Path, query: np.ndarray, *, scores: dict | None) -> list[str]:
    """Make every call on the index; returns wrong answers, and errors that are not ours."""
    try:
        index = ColIndex.open(path, n_threads=1)
    except ColsearchError:
        return []
    problems = []
    ids: list = []

    def listed() -> None:
        ids.extend(index)

    def searched() -> None:
        # The prefilter finds ten hits; for 2,000 every document is scored.
        for k in (10, 2000):
            for hit in index.search(query, k=k):
                if scores is not None and scores.get(hit.id) != hit.score:
                    problems.append(f"{hit.id!r} scores {hit.score}, not {scores.get(hit.id)}")

    calls: dict[str, Callable[[], object]] = {
        "list": listed,
        "search": searched,
        "exact": lambda: index.search(query, k=5, exact=True),
        "where": lambda: index.search(query, where={"version": {"$gte": 0}}),
        "rerank": lambda: index.rerank(query, ids[:3]),
        "get": lambda: [index.get(id) for id in ids[:9]],
        "explain": lambda: index.explain(query, ids[0]) if ids else None,
        "text": lambda: index._store.snapshot().bm25("lake", 9),
        "info": index.info,
        "check": lambda: index.check(deep=True),
        "add": lambda: index.add_vectors([query], ids=["added"]),
        "delete": lambda: index.delete("added"),
        "compact": index.compact,
        "search again": searched,
    }
    with index:
        for name, call in calls.items():
            try:
                call()
            except ColsearchError:
                continue
            except Exception as error:  # noqa: BLE001 this is what is looked for
                problems.append(f"{name}: {type(error).__name__}: {error!s:.300}")
    return problems


def complaints(
    whole: Path, copy: Path, forgery: Forgery, query: np.ndarray, scores: dict | None
) -> list[str]:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    forgery.apply(copy)
    problems = []
    try:
        if check_folder(copy, deep=True).ok and not forgery.harmless:
            problems.append("check finds nothing")
    except ColsearchError:
        pass
    except Exception as error:  # noqa: BLE001
        problems.append(f"check: {type(error).__name__}: {error!s:.300}")
    problems += ask_all(copy, query, scores=scores)
    shutil.rmtree(copy)
    shutil.copytree(whole, copy)
    forgery.apply(copy)
    try:
        repair_folder(copy)
    except ColsearchError:
        pass
    except Exception as error:  # noqa: BLE001
        problems.append(f"repair: {type(error).__name__}: {error!s:.300}")
    return [f"{forgery.name}: {problem}" for problem in problems]


def run_all(
    forgeries: list[Forgery], whole: Path, query: np.ndarray, scores: dict | None = None
) -> list[str]:
    """Run the forgeries in children with little memory; if a batch dies, each of its cases runs alone."""
    wrong: list[str] = []

    def work(cases: list[Forgery]) -> list[str]:
        limit = address_space_bytes() + MORE_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        return [c for case in cases for c in complaints(whole, whole.parent / "forged", case, query, scores)]

    for start in range(0, len(forgeries), BATCH):
        batch = forgeries[start : start + BATCH]
        outcome = run_in_child(lambda: work(batch), seconds=120)
        if outcome.kind == "ok":
            wrong += outcome.value
            continue
        for case in batch:
            alone = run_in_child(lambda: work([case]), seconds=30)
            wrong += (
                alone.value
                if alone.kind == "ok"
                else [f"{case.name}: {alone.kind} {str(alone.value)[-300:]}"]
            )
    return wrong


@pytest.mark.parametrize(
    ("make", "at_least"),
    [(header_forgeries, 150), (array_forgeries, 200), (sqlite_forgeries, 80)],
    ids=["header", "arrays", "SQLite"],
)
def test_malformed_fields_with_valid_checksums_give_typed_errors(memory, make, at_least):
    forgeries = list(make())
    assert len(forgeries) >= at_least
    subject = Subject(memory / make.__name__)
    wrong = run_all(forgeries, subject.folder / "whole", world.QUERY)
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:30])


def prefilter_forgeries(folder: Path) -> Iterator[Forgery]:
    def at(pattern: str, edit: Callable[[Arrays], object]) -> Callable[[Path], object]:
        def apply(copy: Path) -> None:
            [path, *_] = sorted(copy.glob(pattern))
            forge.rename(copy, path.name, forge.with_arrays(path, edit))

        return apply

    for pattern in ("models/*.model", "segments/*.pre"):
        [path, *_] = sorted(folder.glob(pattern))
        for name in Container(path).section_bytes():
            yield Forgery(f"no {name}", at(pattern, lambda a, name=name: a.pop(name)), harmless=True)
            for how, edit in {
                "cut": lambda a: a[:-1],
                "empty": lambda a: a[:0],
                "longer": lambda a: np.concatenate([a, a[-1:]]),
                "flat": lambda a: a.ravel(),
                "deeper": lambda a: a[None],
                "one number": lambda a: a[(0,) * a.ndim].reshape(()),
                "infinite": lambda a: np.full(a.shape, np.inf, "<f4"),
                "huge": lambda a: np.full(a.shape, 3e38, "<f4"),
                "integers": lambda a: a.astype("<i8"),
                "bytes of 255": lambda a: np.full_like(a, 255) if a.dtype.kind == "u" else a.astype("|u1"),
            }.items():
                yield Forgery(
                    f"{name} is {how}",
                    at(pattern, lambda a, name=name, edit=edit: a.update({name: edit(a[name])})),
                    harmless=True,
                )


def test_malformed_prefilters_give_typed_errors_or_right_scores(memory):
    whole = memory / "prefiltered" / "whole"
    kinds = draw_kinds(0)
    [query] = draw_queries(1, 5, kinds)
    with ColIndex.create(whole, dim=64, n_threads=1) as index:
        index.add_vectors(cluster_documents(1200, 1, kinds))
        assert index.info()["prefilter"], "the index is too small for a prefilter"
        found = index.search(query, profile=True)
        assert found.profile is not None and found.profile.n_candidates < 1200, "a scan answered"
        scores = {hit.id: hit.score for hit in index.search(query, k=1200, exact=True)}
    wrong = run_all(list(prefilter_forgeries(whole)), whole, query, {**scores, "added": None})
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:30])
