"""Metadata of a fitted prefilter: its calibration, when it was made, and the documents it was fitted on.

SQLite holds the calibration, as JSON; the fitted model's own file holds the documents' numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from colsearch.errors import DamagedError
from colsearch.prefilter.calibration import Calibration
from colsearch.prefilter.model import MODEL_META
from colsearch.store.snapshot import FittedModel, Snapshot
from colsearch.types import I64

# The section of a model's file with the doc_nos of its sample.
SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class PrefilterState:
    """Attributes:
    calibration: the recall that each stop gives.
    checked_tokens: tokens of the index when recall was last measured.
    checked_doc_no: documents added since then have this number or a higher one.
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
    def from_model(cls, model: FittedModel) -> PrefilterState:
        """Raises: DamagedError: if the notes in SQLite are not what was written."""
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
    """The snapshot's fitted model; None without one, or if another release made it, so that it is fitted anew."""
    model = snapshot.model
    return model if model is not None and model.file.meta == MODEL_META else None


def sample_of(model: FittedModel) -> I64 | None:
    """Sorted doc_nos of the documents whose tokens the model may hold; None if its file does not say.

    Raises: DamagedError: if the section has another dtype or shape.
    """
    return model.file.array(SAMPLE, "<i8", (None,)) if SAMPLE in model.file else None
