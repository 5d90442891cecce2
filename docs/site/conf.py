"""Settings of the documentation site; `make docs` builds it from the pages where they lie."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels"), str(Path(__file__).parent)]

import colsearch  # noqa: E402

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
    "page_width": "1100px",
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
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_custom_sections = ["Source", "Oracle", "Keys"]
napoleon_use_rtype = False
