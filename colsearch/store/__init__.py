"""Codes on disk: segments, commits, documents."""

from colsearch.store.build import Build
from colsearch.store.check import CheckReport, check, check_folder
from colsearch.store.container import Container
from colsearch.store.prefilter_file import present_rows
from colsearch.store.repair import repair, repair_folder
from colsearch.store.segment import DocumentBatch, Segment
from colsearch.store.snapshot import LiveSegment, Model, Snapshot
from colsearch.store.store import Store

__all__ = [
    "Build",
    "CheckReport",
    "Container",
    "DocumentBatch",
    "LiveSegment",
    "Model",
    "Segment",
    "Snapshot",
    "Store",
    "check",
    "check_folder",
    "present_rows",
    "repair",
    "repair_folder",
]
