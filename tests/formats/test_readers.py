"""The readers of every format, on good, broken and hostile files."""

import gzip
import io
import json
from pathlib import Path

import pytest

from colsearch.errors import DocumentError
from colsearch.formats.documents import Skipped, read_documents
from colsearch.formats.queries import read_queries
from colsearch.formats.trec import read_qrels, read_run, write_run
from colsearch.types import Document


def test_every_kind_of_file_gives_the_same_documents(tmp_path: Path) -> None:
    expected = [Document("a", "Title one é😀", {"year": "2020"}), Document("b", "two", {"year": "2021"})]
    lines = [
        {"_id": "a", "title": "Title", "text": "one é😀", "year": "2020"},
        {"id": "b", "text": "two", "year": "2021"},
    ]
    text = "".join(json.dumps(line) + "\r\n" for line in lines)
    (tmp_path / "c.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir" / "corpus.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "c.csv").write_text('id,title,text,year\na,Title,one é😀,2020\nb,,"two",2021\n')
    (tmp_path / "c.tsv").write_text("id\ttitle\ttext\tyear\na\tTitle\tone é😀\t2020\nb\t\ttwo\t2021\n")
    for name in ("c.jsonl", "beir", "c.csv", "c.tsv"):
        assert list(read_documents(tmp_path / name)) == expected, name
    (tmp_path / "texts" / "sub").mkdir(parents=True)
    (tmp_path / "texts" / "sub" / "x.txt").write_text("hello")
    assert list(read_documents(tmp_path / "texts")) == [Document("sub/x.txt", "hello", {})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"_id": "x"', "not JSON"),
        (b'{"_id": "x", "text": NaN}', "NaN"),
        (b'{"_id": "x", "text": "t", "n": -Infinity}', "Infinity"),
        (b'{"_id": "x", "text": "t", "n": 1e999}', "too large"),
        (b'{"_id": "x", "text": "t", "text": "u"}', "comes twice"),
        (b'{"_id": "x", "text": "t", "n": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"_id": "x", "text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "levels deep"),
        (b'{"_id": "x", "text": "\xff"}', "not UTF-8"),
        (b'{"_id": "x", "text": "' + b"a" * (16 << 20) + b'"}', "8 MiB"),
        (b'{"text": "t"}', "neither"),
        (b'{"_id": null, "text": "t"}', "the id"),
        (b'{"_id": "x"}', "'text' is needed"),
        (b'["x"]', "one JSON object"),
    ],
)
def test_a_broken_line_is_named_and_can_be_left_out(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"_id": "good", "text": "t"}\n' + line + b"\n")
    with pytest.raises(DocumentError, match=message) as raised:
        list(read_documents(path))
    assert f"{path}:2" in str(raised.value)
    if b"a" * 100 in line:
        return
    skipped = Skipped()
    assert [d.id for d in read_documents(path, skipped=skipped)] == ["good"]
    assert skipped.n == 1 and message in skipped.reasons[0]


def test_brackets_inside_a_string_are_no_depth(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"_id": "x", "text": "[" * 1000 + '"\\'}) + "\n")
    assert next(read_documents(path)).text == "[" * 1000 + '"\\'


def test_rows_and_headers_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id,text\na,b,c\n")
    with pytest.raises(DocumentError, match=r"c.csv:2: 3 columns"):
        list(read_documents(tmp_path / "c.csv"))
    (tmp_path / "d.csv").write_text("name,text\na,b\n")
    with pytest.raises(DocumentError, match="columns id and text"):
        list(read_documents(tmp_path / "d.csv"))
    for name in ("missing.jsonl", "c.pdf"):
        with pytest.raises(DocumentError, match=name):
            list(read_documents(tmp_path / name))


def test_a_run_survives_a_round_trip(tmp_path: Path) -> None:
    file = io.StringIO()
    write_run({"q1": [("d2", 2.5), ("d1", 1.0)], "q2": []}, file)
    (tmp_path / "run").write_text(file.getvalue())
    assert read_run(tmp_path / "run") == {"q1": ["d2", "d1"]}
    (tmp_path / "run").write_text("q1 Q0 d2 first 2.5 x\n")
    with pytest.raises(DocumentError, match=r"run:1"):
        read_run(tmp_path / "run")


def test_queries_and_judgements(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"_id": 1, "text": "one"}\n')
    assert list(read_queries(tmp_path)) == [("1", "one")]
    (tmp_path / "q.tsv").write_text("1\tone\n")
    assert list(read_queries(tmp_path / "q.tsv")) == [("1", "one")]
    (tmp_path / "t.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n1\tb\t0\n")
    assert read_qrels(tmp_path / "t.tsv") == {"1": {"a": 1, "b": 0}}
    (tmp_path / "t.tsv").write_text("query-id\tcorpus-id\tscore\n1 a 1\n")
    with pytest.raises(DocumentError, match=r"t.tsv:2"):
        read_qrels(tmp_path / "t.tsv")
