"""Documents and queries -> one vector each -> FAISS -> candidates whose order is close to MaxSim's."""

from colsearch.prefilters.calibration import DEPTHS, REAL_MISSES, Z_STEPS, Calibration, Rehearsal
from colsearch.prefilters.fitting import MIN_DOCS, fit
from colsearch.prefilters.learned import MODEL_META, LearnedPrefilter
from colsearch.prefilters.quantizer import DocumentCodes, stage_bytes
from colsearch.prefilters.sampling import gather, join, reworded_runs, token_runs, word_runs
from colsearch.prefilters.vector_index import VectorIndex

__all__ = [
    "DEPTHS",
    "MIN_DOCS",
    "MODEL_META",
    "REAL_MISSES",
    "Z_STEPS",
    "Calibration",
    "DocumentCodes",
    "LearnedPrefilter",
    "Rehearsal",
    "VectorIndex",
    "fit",
    "gather",
    "join",
    "reworded_runs",
    "stage_bytes",
    "token_runs",
    "word_runs",
]
