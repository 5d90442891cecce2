"""Settings of small prefilters, which are fitted in a second for a few thousand documents."""

from dataclasses import replace
from typing import Any

import pytest

from colsearch.prefilter import settings
from colsearch.scoring import cost


def use_small_prefilters(
    patch: pytest.MonkeyPatch, *, cheap_scan_ns: float | None = None, **sizes: Any
) -> None:
    """Replace the default settings for indexes that are opened from now on.

    Args:
        cheap_scan_ns: a lower threshold of the cost model, so that small indexes get a prefilter.
        sizes: fields of `PrefilterSettings`.
    """
    patch.setattr(settings, "DEFAULT", replace(settings.DEFAULT, **sizes))
    if cheap_scan_ns is not None:
        patch.setattr(cost, "CHEAP_SCAN_NS", cheap_scan_ns)
