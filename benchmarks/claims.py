"""Finds numbers in a page's prose that look measured but do not link a result file."""

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.render import BLOCK

FENCE = re.compile(r"^```.*?^```", re.S | re.M)
MEASURED = re.compile(
    r"\d[\d.,]*\s?(?:ns|µs|ms|MB|GB|QPS|CPU-seconds?|(?:bytes|B)(?:/| per )(?:token|document))\b"
    r"|\d[\d.,]*\s?(?:x|×|times) (?:faster|smaller|slower|less)"
    r"|(?:nDCG|recall|MRR)@\d+ (?:of )?\d?\.\d+"
)
RESULT = re.compile(r"\]\(([^)]*benchmarks/results/[\w-]+\.json|results/[\w-]+\.json)\)")


def unbacked(page: Path) -> Iterator[str]:
    """Yield each paragraph of prose that has a measured-looking number but no link to an existing result."""
    text = FENCE.sub("", BLOCK.sub("", page.read_text(encoding="utf-8")))
    for paragraph in re.split(r"\n\s*\n", text):
        if not MEASURED.search(paragraph):
            continue
        links = [page.parent / link for link in RESULT.findall(paragraph)]
        if not links or not all(link.exists() for link in links):
            yield " ".join(paragraph.split())
