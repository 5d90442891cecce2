"""MaxSim kernels: late-interaction scores over token vectors and over their codes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colsearch_kernels.codes import Codes, QuantizedQuery
    from colsearch_kernels.errors import KernelInputError
    from colsearch_kernels.features import QueryVectors, TokenFeatures
    from colsearch_kernels.floats import maxsim, maxsim_list
    from colsearch_kernels.following import margins
    from colsearch_kernels.int8 import maxsim_int8
    from colsearch_kernels.lookups import Lookups
    from colsearch_kernels.ordering import best_first
    from colsearch_kernels.quantize import quantize_query
    from colsearch_kernels.scattered import Followed, Scattered, ScatteredScorer
    from colsearch_kernels.scoring import (
        align,
        best_k,
        score_codes,
        score_codes_batch,
        token_maxima,
        top_k,
    )

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
    "Codes": "codes",
    "QuantizedQuery": "codes",
    "KernelInputError": "errors",
    "maxsim": "floats",
    "maxsim_list": "floats",
    "Lookups": "lookups",
    "margins": "following",
    "maxsim_int8": "int8",
    "QueryVectors": "features",
    "TokenFeatures": "features",
    "quantize_query": "quantize",
    "Followed": "scattered",
    "Scattered": "scattered",
    "ScatteredScorer": "scattered",
    "align": "scoring",
    "best_first": "ordering",
    "best_k": "scoring",
    "score_codes": "scoring",
    "score_codes_batch": "scoring",
    "token_maxima": "scoring",
    "top_k": "scoring",
}


def __getattr__(name: str) -> Any:
    # llvmlite, by which the processor is known, is imported by the first kernel that is asked for.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value
