"""What is known of a prefilter beside its arrays: what was measured of it, and which documents it was fitted on.

The first is stored in SQLite, as JSON, the second in the model's file.
"""

import json
from dataclasses import dataclass
from typing import Any

from colsearch.errors import DamagedError
from colsearch.prefilter.calibration import Calibration
from colsearch.prefilter.model import MODEL_META
from colsearch.store.snapshot import FittedModel, Snapshot
from colsearch.types import I64

SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class PrefilterState:
    """Attributes:
    calibration: from recall to how far a query follows its candidates.
    checked_tokens: tokens of the index when recall was last measured.
    checked_doc_no: later documents have this number or a higher one.
    """

    calibration: Calibration
    checked_tokens: int
    checked_doc_no: int

    def to_json(self) -> dict[str, Any]:
        return {
            "recall": self.calibration.to_json(),
            "checked_tokens": self.checked_tokens,
            "checked_doc_no": self.checked_doc_no,
        }

    @classmethod
    def of(cls, model: FittedModel) -> "PrefilterState":
        """Raises: DamagedError: if the notes are not what was written."""
        try:
            notes = json.loads(model.notes)
            calibration = Calibration.from_json(notes["recall"])
            return cls(calibration, int(notes["checked_tokens"]), int(notes["checked_doc_no"]))
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise DamagedError(
                f"the notes of {model.file.path} in SQLite are malformed ({error}); "
                "run `colsearch check --repair`"
            ) from None


def usable_model(snapshot: Snapshot) -> FittedModel | None:
    """The prefilter's model, unless it is of a kind that this release does not read, and will make anew."""
    model = snapshot.model
    return model if model is not None and model.file.meta == MODEL_META else None


def fitted_on(model: FittedModel) -> I64 | None:
    """Sorted doc_nos of the documents of which the model may hold tokens; None if it does not say.

    Raises: DamagedError: if it says something else.
    """
    return model.file.array(SAMPLE, "<i8", (None,)) if SAMPLE in model.file else None
