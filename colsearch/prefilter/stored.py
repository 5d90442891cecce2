"""Prefilters as the store keeps them: fitted models, and the document codes of each segment."""

from weakref import WeakKeyDictionary

from colsearch.prefilter.model import LearnedPrefilter
from colsearch.prefilter.quantizer import DocumentCodes, stage_bytes
from colsearch.prefilter.state import PrefilterState
from colsearch.store.container import Container
from colsearch.store.snapshot import FittedModel


class PrefilterCache:
    """Prefilters that were read from their files; each is read once while anybody holds its model.

    Args:
        padded_dim: of the codec's rotated vectors.
    """

    def __init__(self, padded_dim: int) -> None:
        self._padded_dim = padded_dim
        self._loaded: WeakKeyDictionary[FittedModel, tuple[LearnedPrefilter, PrefilterState]] = (
            WeakKeyDictionary()
        )

    def load(self, model: FittedModel) -> tuple[LearnedPrefilter, PrefilterState]:
        """The prefilter and its state.

        Raises: DamagedError: if what is stored does not fit together.
        """
        loaded = self._loaded.get(model)
        if loaded is None:
            arrays = {name: model.file.rows(name) for name in model.file.section_bytes()}
            prefilter = LearnedPrefilter.from_arrays(
                arrays, padded_dim=self._padded_dim, name=str(model.file.path)
            )
            loaded = self._loaded[model] = prefilter, PrefilterState.from_model(model)
        return loaded


def stored_codes(file: Container, prefilter: LearnedPrefilter, n_docs: int) -> DocumentCodes:
    """The document codes of a segment, verified.

    Raises: DamagedError: also if their shapes are not what the prefilter makes.
    """
    widths = zip(DocumentCodes._fields, stage_bytes(prefilter.n_dims))
    return DocumentCodes(*(file.array(name, "|u1", (n_docs, n_bytes)) for name, n_bytes in widths))
