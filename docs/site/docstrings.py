"""Sphinx extension: brings our docstrings into the shape that napoleon reads.

We write a section that fits on one line as `Returns: (n_docs,) float32`; napoleon wants its text below the name.
"""

import re
from typing import Any

_NAMES = "Args|Attributes|Returns|Raises|Source|Oracle|Keys"
_SECTION = re.compile(rf"({_NAMES}):(?: (.+))?")
_ERROR = re.compile(r"\b[A-Z]\w+Error\b")


def on_several_lines(lines: list[str]) -> list[str]:
    """Docstring lines with every one-line section opened up, and `Raises: text` as a field whose errors are links."""
    result: list[str] = []
    remaining = iter(lines)
    line = next(remaining, None)
    while line is not None:
        match = _SECTION.fullmatch(line)
        if match is None or match[2] is None:
            result.append(line)
            line = next(remaining, None)
            continue
        name, text = match.groups()
        # The text goes on until an empty line or the next section.
        while (line := next(remaining, None)) and not _SECTION.fullmatch(line):
            text += f" {line.strip()}"
        if name == "Raises":
            linked = _ERROR.sub(r":exc:`.\g<0>`", text)
            result += ["", f":raises: {linked}", ""]
        else:
            result += ["", f"{name}:", f"    {text}", ""]
    return result


def _process(app: Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = on_several_lines(lines)


def setup(app: Any) -> dict[str, bool]:
    # Napoleon listens with the priority 500; smaller numbers come first.
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True}
