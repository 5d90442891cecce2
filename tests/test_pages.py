"""The pages tell the truth: their Python code runs, and the files, commands and links that they name exist."""

import contextlib
import io
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from colsearch import ColIndex, __version__
from colsearch.cli.app import app

ROOT = Path(__file__).parent.parent
FOLDERS = (
    "",
    "docs/",
    "kernels/",
    "benchmarks/",
    "colsearch/encoders/",
    "tests/data/",
    ".github/ISSUE_TEMPLATE/",
)
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.md")
)
WORKFLOWS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / ".github/workflows").glob("*.yml"))
# Where a page for developers may begin a path: `query/engine.py`, `colsearch_kernels/runtime/pool.py`.
SOURCE_ROOTS = (ROOT, ROOT / "colsearch", ROOT / "kernels")

CODE_BLOCK = re.compile(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# What a shell is told: lines that begin with `$ ` in a block, and inline code.
SHELL = re.compile(r"^\$ (.+)$|`((?:make|colsearch|python -m) [^`\n]+)`", re.MULTILINE)
# A folder ends with a slash; a file has one of our suffixes; a test may follow it.
PATH = re.compile(
    r"[\w.-]+/(?:[\w.-]+/)*(?![\w.*/-])|[\w./-]+\.(?:py|md|rst|toml|yml|yaml|cff|txt|npy)\b(?:::\w+)?"
)
CLASS = re.compile(r"`([A-Z]\w*[a-z]\w*)`")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def with_code(pages: list[str]) -> list[str]:
    return [page for page in pages if CODE_BLOCK.search(text_of(page))]


def existing_index() -> None:
    """What a page means that opens `my_index`."""
    with ColIndex.create("my_index") as index:
        index.add(["The Danube is a river.", "Aspirin is a drug."], ids=["danube", "aspirin"])


def another_retriever() -> dict[str, object]:
    """What a page means by an index, its ids and texts, and a model with one vector per text."""
    existing_index()
    index = ColIndex.open("my_index")
    texts = [str(index.get(id).text) for id in index]

    def encode(asked: str | list[str], normalize_embeddings: bool) -> np.ndarray:
        assert normalize_embeddings
        vectors = np.random.default_rng(0).standard_normal((len(texts), 8))
        return vectors[0] if isinstance(asked, str) else vectors

    return {
        "model": SimpleNamespace(encode=encode),
        "texts": texts,
        "ids": list(index),
        "index": index,
        "np": np,
    }


# What the reader of a page has at hand already.
AT_HAND = {"docs/GPU.md": existing_index, "docs/PREFILTER.md": another_retriever}


def test_the_pages_for_users_have_code() -> None:
    assert {"README.md", "kernels/README.md", *AT_HAND} <= set(with_code(PAGES))


@pytest.mark.parametrize("page", with_code(PAGES))
def test_code_prints_what_the_page_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks run in order, in one namespace."""
    monkeypatch.chdir(tmp_path)
    at_hand = AT_HAND.get(page, dict)()
    namespace: dict[str, object] = dict(at_hand or {})
    for code, expected in CODE_BLOCK.findall(text_of(page)):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(ROOT / page), "exec"), namespace)
        if expected:
            assert printed.getvalue() == expected


def make_targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def missing_command(line: str) -> str | None:
    """What a shell command names that we do not have."""
    match line.split():
        case ["make", target, *_] if target not in make_targets():
            return f"make {target}"
        case ["colsearch", command, *_] if not command.startswith("-"):
            known = {registered.name for registered in app.registered_commands}
            return None if command.strip(",.") in known | {"COMMAND"} else f"colsearch {command}"
        case ["python", "-m", module, *_] if find_spec(module) is None:
            return f"python -m {module}"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_exist(page: str) -> None:
    lines = [block or inline for block, inline in SHELL.findall(text_of(page))]
    assert [missing for line in lines if (missing := missing_command(line))] == []


@pytest.mark.parametrize("file", [".ci/run", ".pre-commit-config.yaml", *WORKFLOWS])
def test_automation_calls_targets_that_exist(file: str) -> None:
    called = set(re.findall(r"^(?:\s+(?:- run|entry): )?make ([\w-]+)", text_of(file), re.MULTILINE))
    assert called and called <= make_targets()


def test_quick_has_tests_of_every_room() -> None:
    done = subprocess.run(["make", "-n", "quick"], cwd=ROOT, capture_output=True, text=True, check=True)
    slow = re.findall(r"--deselect=(\S+)", done.stdout)
    assert slow and missing_paths("\n".join(slow)) == []
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    quick = {file for file in files if not file.startswith(tuple(slow))}
    assert {str(Path(file).parent) for file in files - quick} - {
        str(Path(file).parent) for file in quick
    } == {
        "tests/torture",
        "tests/examples",
    }


def test_a_missing_command_would_be_seen() -> None:
    lines = ["make nothing", "colsearch nothing", "python -m nothing", "make test", "colsearch check x", "ls"]
    missing = ["make nothing", "colsearch nothing", "python -m nothing"]
    assert [found for line in lines if (found := missing_command(line))] == missing
    assert {"demo", "test", "test-system"} <= make_targets()


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_to_files(page: str) -> None:
    targets = [link.partition("#")[0] for link in LINK.findall(FENCE.sub("", text_of(page)))]
    assert [t for t in targets if "://" not in t and not ((ROOT / page).parent / t).exists()] == []


def missing_paths(text: str) -> list[str]:
    """Files, folders and tests that a text names and that do not exist.

    In a line, bare file names lie in the folder that the line names first.
    """
    missing = []
    for line in text.splitlines():
        # Links have a test of their own, and `my_index/` is the reader's.
        names = [name for name in PATH.findall(LINK.sub("]", line)) if not name.startswith("my_index/")]
        folder = next((name.rpartition("/")[0] for name in names if "/" in name), "")
        for name in names:
            path, _, test = name.partition("::")
            places = [root / prefix / path for root in SOURCE_ROOTS for prefix in {"", folder}]
            found = next((place for place in places if place.exists()), None)
            if found is None or (test and f"def {test}(" not in found.read_text(encoding="utf-8")):
                missing.append(name)
    return missing


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_the_files_that_a_page_names_exist(page: str) -> None:
    text = text_of(page)
    assert len(PATH.findall(text)) > 3
    assert missing_paths(text) == []


def test_a_missing_file_would_be_seen() -> None:
    there = "query/engine.py colsearch/query/ tests/test_pages.py::test_a_missing_file_would_be_seen README.md my_index/x.py"
    assert missing_paths(there) == []
    assert missing_paths("| `query/` | `engine.py` |\nquery/engine.py -> candidates.py") == []
    gone = ["query/nothing.py", "nothing/", "tests/test_pages.py::test_nothing", "NOTHING.md"]
    assert missing_paths(" ".join(gone)) == gone
    assert missing_paths("| `query/` | `store.py` |") == ["store.py"]


def test_every_room_has_its_line_in_the_architecture() -> None:
    text = text_of("ARCHITECTURE.md")
    for package in (ROOT / "colsearch", ROOT / "kernels" / "colsearch_kernels"):
        for room in sorted(path.parent for path in package.glob("*/__init__.py")):
            name = f"{package.name}/{room.name}/" if package.parent != ROOT else f"{room.name}/"
            files = {path.name for path in room.glob("*.py")} - {"__init__.py"}
            [line] = [line for line in text.splitlines() if line.startswith(f"| `{name}`")]
            assert files <= set(re.findall(r"\w+\.py", line)), (
                f"{name}: name its new files in ARCHITECTURE.md"
            )


def test_the_classes_that_the_architecture_names_exist() -> None:
    sources = [path for package in SOURCE_ROOTS[1:] for path in package.rglob("*.py")]
    defined = set(
        re.findall(r"^class (\w+)", "\n".join(path.read_text("utf-8") for path in sources), re.MULTILINE)
    )
    named = set(CLASS.findall(FENCE.sub("", text_of("ARCHITECTURE.md"))))
    assert named - defined == set()


def test_the_citation_names_this_version() -> None:
    [version] = re.findall(r"^version: (.+)$", text_of("CITATION.cff"), re.MULTILINE)
    assert version == __version__
