"""The README's Python blocks run, in order, in one namespace, and print what the block after each says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "kernels/README.md"])
def test_code_prints_what_the_page_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / page
    blocks = BLOCK.findall(path.read_text(encoding="utf-8")) if path.exists() else []
    assert blocks, f"{page} has no Python block to run"
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for code, expected in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(path), "exec"), namespace)
        if expected:
            assert printed.getvalue() == expected


def test_the_makefile_has_the_commands_that_the_readme_names() -> None:
    commands = set(re.findall(r"\$ make ([\w-]+)|`make ([\w-]+)`", (ROOT / "README.md").read_text()))
    names = {name for pair in commands for name in pair if name}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "test-system"} <= names <= targets
