"""Settings of the documentation site; `make docs` builds it from the pages where they lie."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels"), str(Path(__file__).parent)]

from sphinx.util import logging  # noqa: E402

import colsearch  # noqa: E402
import colsearch_kernels  # noqa: E402

project = "colsearch"
author = "colsearch maintainers"
release = version = colsearch.__version__
copyright = "colsearch maintainers, Apache-2.0"

# Modules beside this file: our docstrings' sections, and the command line's options.
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "docstrings", "command_line"]
root_doc = "docs/index"
# The root of the sources is the repository's own, so that a link between two pages works in both.
include_patterns = [
    "*.md",
    "docs/**",
    "kernels/README.md",
    "benchmarks/README.md",
    "colsearch/encoders/README.md",
]
exclude_patterns = ["docs/site", ".*", "build", "demo"]

html_theme = "alabaster"
html_title = f"colsearch {release}"
html_theme_options = {
    "description": "Late-interaction retrieval",
    "fixed_sidebar": True,
    "page_width": "1400px",
    "body_max_width": "auto",
    "show_powered_by": False,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
# The site's root page sends readers on to docs/index.html.
html_additional_pages = {"index": "redirect.html"}
templates_path = ["."]
html_copy_source = False

# A link to a heading is checked as well as a link to a page.
myst_heading_anchors = 4
default_role = "code"
# Blocks without a language are diagrams and output.
highlight_language = "text"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = ["Source", "Oracle", "Keys"]
napoleon_use_rtype = False

# The kernels' names are loaded when they are first asked for; autodoc looks at what is there.
PUBLIC = [f"{module.__name__}.{name}" for module in (colsearch, colsearch_kernels) for name in module.__all__]
for name in colsearch_kernels.__all__:
    getattr(colsearch_kernels, name)


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", without_constructor)
    app.connect("env-check-consistency", every_public_name_is_described)


def without_constructor(app: Any, what: str, name: str, *_: object) -> tuple[str, None] | None:
    """A `ColIndex` is made by `create` or `open`; its constructor is nobody's business."""
    return ("", None) if (what, name) == ("class", "colsearch.ColIndex") else None


def every_public_name_is_described(app: Any, environment: Any) -> None:
    described = environment.get_domain("py").objects
    for name in PUBLIC:
        if name not in described and name != "colsearch.ColsearchError":
            logging.getLogger(__name__).warning("%s is public, and not in docs/reference", name)
