"""Every command, run as a user types it, on a tiny corpus with the embedded encoder."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from colsearch import ColIndex
from colsearch.cli.app import app

LINES = [
    {"_id": "danube", "text": "The Danube flows through ten countries.", "year": 2001},
    {"_id": "aspirin", "text": "Aspirin inhibits the production of prostaglandins.", "year": 1971},
]


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "a river in Europe"}\n')
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tdanube\t1\n")
    assert json.loads(run("build", folder / "index", folder, "--json")) == {"added": 2}
    return folder


def test_the_commands_are_these() -> None:
    assert [command.name for command in app.registered_commands] == [
        "build", "add", "search", "rerank", "explain", "eval", "audit", "optimize", "bench", "info", "check",
        "compact",
    ]  # fmt: skip


def test_search_prints_hits_json_and_runs(folder: Path) -> None:
    index = folder / "index"
    assert "danube" in run("search", index, "which river", "-k", 1)
    [hit] = json.loads(run("search", index, "which river", "-k", 1, "--json"))
    assert hit["id"] == "danube" and hit["metadata"] == {"year": 2001}
    where = json.dumps({"year": {"$lt": 2000}})
    assert [h["id"] for h in json.loads(run("search", index, "river", "--where", where, "--json"))] == [
        "aspirin"
    ]
    hits = run("search", index, "--queries", folder)
    assert hits.startswith("q1 Q0 danube 1 ")
    assert run("search", index, "--queries", folder, "--device", "cpu") == hits


def test_rerank_reads_and_writes_runs(folder: Path) -> None:
    (folder / "bm25.run").write_text("q1 Q0 aspirin 1 9 x\nq1 Q0 danube 2 8 x\n")
    assert [
        line.split()[2] for line in run("rerank", folder / "index", folder / "bm25.run", folder).splitlines()
    ] == [
        "danube",
        "aspirin",
    ]


def test_explain_eval_info_check_compact(folder: Path) -> None:
    index = folder / "index"
    assert "Danube" in run("explain", index, "Danube", "danube", "--html", folder / "page.html")
    assert "<mark" in (folder / "page.html").read_text()
    assert json.loads(run("eval", index, folder, "--json"))["ndcg@10"] == 1.0
    assert json.loads(run("info", index, "--json"))["n_docs"] == 2
    assert json.loads(run("check", index, "--deep", "--json"))["ok"] is True
    run("compact", index)


def test_bench_measures_given_queries_and_makes_its_own_of_the_texts(folder: Path) -> None:
    index = folder / "index"
    given = json.loads(run("bench", index, "--queries", folder, "--json"))
    assert given["n_queries"] == 1 and given["recall"] == [1.0, 1.0, 1.0] and not given["made_queries"]
    assert given["bytes_per_token"] == json.loads(run("info", index, "--json"))["bytes_per_token"]
    synthetic = json.loads(run("bench", index, "--json", "-k", 1))
    assert synthetic["made_queries"] and synthetic["n_queries"] == 2
    assert synthetic["k"] == 1 and synthetic["stage_ms"]["scan"] > 0
    shown = run("bench", index, "-n", 1)
    assert "2 documents, 1 queries, k=10" in shown and "recall@10" in shown and "--queries FILE" in shown


def test_bench_of_an_index_of_vectors_takes_vectors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with ColIndex.create(tmp_path / "index", dim=8) as index:
        index.add_vectors(rng.standard_normal((5, 3, 8)))
    assert "--queries FILE.npy" in run("bench", tmp_path / "index", code=2)
    np.save(tmp_path / "queries.npy", rng.standard_normal((4, 2, 8)))
    measured = json.loads(run("bench", tmp_path / "index", "--queries", tmp_path / "queries.npy", "--json"))
    assert measured["n_queries"] == 4 and measured["n_candidates"] == 5
    np.save(tmp_path / "flat.npy", np.zeros((4, 8)))
    assert "shape (4, 8)" in run("bench", tmp_path / "index", "--queries", tmp_path / "flat.npy", code=2)


def test_add_names_a_broken_line_and_keeps_nothing_of_the_call(folder: Path) -> None:
    (folder / "more.jsonl").write_text('{"_id": "new", "text": "new"}\n{"_id": \n')
    output = run("add", folder / "index", folder / "more.jsonl", code=2)
    assert "more.jsonl:2" in output and "Traceback" not in output
    assert json.loads(run("info", folder / "index", "--json"))["n_docs"] == 2


def test_mistakes_are_one_sentence_and_exit_code_2(folder: Path) -> None:
    for arguments in (
        ("search", folder / "nothing", "x"),
        ("search", folder / "index"),
        ("search", folder / "index", "x", "--where", "{"),
        ("explain", folder / "index", "x", "nobody"),
        ("explain", folder / "index", "x", "²"),
        ("build", folder / "index", folder),
        ("build", folder / "other", folder, "--planes", "four"),
    ):
        output = run(*arguments, code=2)
        assert output.startswith("colsearch: ") and len(output.strip().splitlines()) == 1


def test_audit_and_optimize(folder: Path) -> None:
    measured = json.loads(run("audit", folder / "index", "--queries", folder, "-k", 1, "--json"))
    assert measured["recall"] == 1.0 and measured["share_scored"] == 1.0
    assert "recall@10 1.0000" in run("audit", folder / "index")
    assert run("optimize", folder / "index") == "nothing to do\n"
    assert "recall is a share" in run("audit", folder / "index", "--recall", 2, code=2)


def test_long_documents_score_as_their_best_passage(tmp_path: Path) -> None:
    sentences = ["The Danube flows through ten countries.", "Aspirin is a drug.", "Penicillin is a mould."]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        json.dumps({"_id": "long", "text": " ".join(sentences)}) + "\n"
        + json.dumps({"_id": "short", "text": "A cookbook."}) + "\n"
    )  # fmt: skip
    index = tmp_path / "index"
    assert json.loads(run("build", index, corpus, "--passages", 12, "--json")) == {"added": 4}
    hits = json.loads(run("search", index, "a drug", "--group-by", "passage_of", "--json"))
    assert [hit["id"] for hit in hits] == ["long", "short"]
    assert hits[0]["text"] == "Aspirin is a drug." and hits[0]["metadata"]["passage"] == 1
    with ColIndex.open(index) as opened:
        best = opened.search("a drug", k=1)[0]
        assert best.id == "long#1" and best.score == hits[0]["score"]
