"""Prefilters as the store keeps them: the model's arrays and state, and the codes of each segment's documents."""

from weakref import WeakKeyDictionary

from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.quantizer import DocumentCodes, stage_bytes
from colsearch.prefilter.state import PrefilterState
from colsearch.store.container import Container
from colsearch.store.snapshot import FittedModel


class PrefilterCache:
    """Models that were read from their files, each once while anybody holds it.

    Args:
        padded_dim: of the codec's rotated vectors.
    """

    def __init__(self, padded_dim: int) -> None:
        self._padded_dim = padded_dim
        self._loaded: WeakKeyDictionary[FittedModel, tuple[LearnedPrefilter, PrefilterState]] = (
            WeakKeyDictionary()
        )

    def loaded(self, model: FittedModel) -> tuple[LearnedPrefilter, PrefilterState]:
        """The prefilter, and what was measured of it.

        Raises: DamagedError: if what is stored does not fit together.
        """
        loaded = self._loaded.get(model)
        if loaded is None:
            arrays = {name: model.file.rows(name) for name in model.file.section_bytes()}
            prefilter = LearnedPrefilter.from_arrays(
                arrays, padded_dim=self._padded_dim, name=str(model.file.path)
            )
            loaded = self._loaded[model] = prefilter, PrefilterState.of(model)
        return loaded


def stored_codes(file: Container, prefilter: LearnedPrefilter, n_docs: int) -> DocumentCodes:
    """What a prefilter file holds of a segment's documents, verified.

    Raises: DamagedError: also if it is not what the prefilter makes.
    """
    widths = zip(DocumentCodes._fields, stage_bytes(prefilter.n_dims))
    return DocumentCodes(*(file.array(name, "|u1", (n_docs, n_bytes)) for name, n_bytes in widths))
