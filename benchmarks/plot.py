"""Draws SVG plots: the same bytes for the same figures, readable on light and dark pages."""

from pathlib import Path
from typing import Any


def new_axes(n: int, *, width: float = 5.5, height: float = 4.0) -> tuple[Any, list[Any]]:
    """A figure with n axes, two per row."""
    import matplotlib as mpl

    mpl.use("svg")
    # A fixed salt, and text stored as text: without them every rendering would change the file.
    mpl.rcParams.update(
        {"svg.hashsalt": "colsearch", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3}
    )
    from matplotlib import pyplot

    n_columns = min(n, 2)
    n_rows = -(-n // n_columns)
    size = (width * n_columns, height * n_rows)
    figure, axes = pyplot.subplots(n_rows, n_columns, figsize=size, squeeze=False)
    for unused in axes.flat[n:]:
        unused.remove()
    return figure, list(axes.flat[:n])


def save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white", bbox_inches="tight")
    pyplot.close(figure)
