# ruff: noqa: F401
"""MaxSim kernels: late-interaction scores over token vectors and over their codes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# For editors and mypy; at run time `__getattr__` imports the same names.
if TYPE_CHECKING:
    from colsearch_kernels.errors import KernelInputError
    from colsearch_kernels.layout.codes import Codes, QuantizedQuery
    from colsearch_kernels.layout.quantize import quantize_query
    from colsearch_kernels.prefilter.features import QueryVectors, TokenFeatures
    from colsearch_kernels.prefilter.lookups import Lookups
    from colsearch_kernels.scoring.maxsim_codes import (
        align,
        score_codes,
        score_codes_batch,
        token_maxima,
        top_k,
    )
    from colsearch_kernels.scoring.maxsim_floats import maxsim, maxsim_list
    from colsearch_kernels.scoring.maxsim_int8 import maxsim_int8
    from colsearch_kernels.scoring.ordering import best_first, best_k
    from colsearch_kernels.scoring.scattered import Followed, Scattered, ScatteredScorer
    from colsearch_kernels.scoring.stop_rule import margins

_MODULE_OF = {
    "Codes": "layout.codes",
    "Followed": "scoring.scattered",
    "KernelInputError": "errors",
    "Lookups": "prefilter.lookups",
    "QuantizedQuery": "layout.codes",
    "QueryVectors": "prefilter.features",
    "Scattered": "scoring.scattered",
    "ScatteredScorer": "scoring.scattered",
    "TokenFeatures": "prefilter.features",
    "align": "scoring.maxsim_codes",
    "best_first": "scoring.ordering",
    "best_k": "scoring.ordering",
    "margins": "scoring.stop_rule",
    "maxsim": "scoring.maxsim_floats",
    "maxsim_int8": "scoring.maxsim_int8",
    "maxsim_list": "scoring.maxsim_floats",
    "quantize_query": "layout.quantize",
    "score_codes": "scoring.maxsim_codes",
    "score_codes_batch": "scoring.maxsim_codes",
    "token_maxima": "scoring.maxsim_codes",
    "top_k": "scoring.maxsim_codes",
}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    # Modules are imported when a name is first used: llvmlite, which tells the processor, takes long to import.
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value
