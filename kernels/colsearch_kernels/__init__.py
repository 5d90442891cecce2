"""MaxSim kernels: late-interaction scores over token vectors and over their codes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colsearch_kernels.errors import KernelInputError
    from colsearch_kernels.layout.codes import Codes, QuantizedQuery
    from colsearch_kernels.layout.quantize import quantize_query
    from colsearch_kernels.prefilter.features import QueryVectors, TokenFeatures
    from colsearch_kernels.prefilter.lookups import Lookups
    from colsearch_kernels.scoring.codes import (
        align,
        best_k,
        score_codes,
        score_codes_batch,
        token_maxima,
        top_k,
    )
    from colsearch_kernels.scoring.floats import maxsim, maxsim_list
    from colsearch_kernels.scoring.int8 import maxsim_int8
    from colsearch_kernels.scoring.ordering import best_first
    from colsearch_kernels.scoring.scattered import Followed, Scattered, ScatteredScorer
    from colsearch_kernels.scoring.stop_rule import margins

__all__ = [
    "Codes",
    "Followed",
    "KernelInputError",
    "Lookups",
    "QuantizedQuery",
    "QueryVectors",
    "Scattered",
    "ScatteredScorer",
    "TokenFeatures",
    "align",
    "best_first",
    "best_k",
    "margins",
    "maxsim",
    "maxsim_int8",
    "maxsim_list",
    "quantize_query",
    "score_codes",
    "score_codes_batch",
    "token_maxima",
    "top_k",
]

_HOME = {
    "errors": ("KernelInputError",),
    "layout.codes": ("Codes", "QuantizedQuery"),
    "layout.quantize": ("quantize_query",),
    "prefilter.features": ("QueryVectors", "TokenFeatures"),
    "prefilter.lookups": ("Lookups",),
    "scoring.codes": ("align", "best_k", "score_codes", "score_codes_batch", "token_maxima", "top_k"),
    "scoring.floats": ("maxsim", "maxsim_list"),
    "scoring.int8": ("maxsim_int8",),
    "scoring.ordering": ("best_first",),
    "scoring.scattered": ("Followed", "Scattered", "ScatteredScorer"),
    "scoring.stop_rule": ("margins",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    # llvmlite, by which the processor is known, is imported by the first kernel that is asked for.
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value
