"""Scoring on a torch device such as a GPU, to which a segment's codes are copied when it is first searched.

Scores equal those of the CPU to the bit. A device reads its whole memory in the time in which a CPU reads some
thousand documents, so every document is scored there, without a prefilter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from colsearch.errors import ConfigError
from colsearch.store.segment import Segment
from colsearch.types import F32, I64

if TYPE_CHECKING:
    from colsearch_kernels import Codes, QuantizedQuery
    from colsearch_kernels.gpu.torch_backend import DeviceCodes


class Device:
    """Holds copies of the segments' codes and scores them.

    Args:
        name: torch's name of the device: "cuda", "cuda:1", "mps", "cpu".
    Raises: ConfigError: if torch cannot use it.
    """

    def __init__(self, name: str) -> None:
        import torch

        try:
            torch.zeros(1, device=name)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            first_line = str(error).strip().splitlines()[0]
            raise ConfigError(f"torch cannot use device={name!r}: {first_line}") from error
        self.name = name
        self._copies: WeakKeyDictionary[Segment, DeviceCodes] = WeakKeyDictionary()

    def best(
        self,
        segment: Segment,
        codes: Codes,
        queries: Sequence[QuantizedQuery],
        k: int,
        *,
        ordinals: I64 | None,
        live: NDArray[np.bool_] | None,
    ) -> list[tuple[I64, F32]]:
        """Ordinals and scores of the k best documents of a segment, for each query.

        Args:
            ordinals: the documents to choose from; None for all that are `live`.
        """
        from colsearch_kernels.gpu import torch_backend

        copy = self._copy(segment, codes)
        return torch_backend.top_k_batch(queries, copy, k, ordinals=ordinals, live=live)

    def scores(self, segment: Segment, codes: Codes, query: QuantizedQuery, ordinals: I64) -> F32:
        """(n,) float32 scores of these documents of a segment."""
        from colsearch_kernels.gpu import torch_backend

        return torch_backend.score_codes(query, self._copy(segment, codes), ordinals=ordinals)

    def forget(self) -> None:
        """Free the memory of the device."""
        self._copies.clear()

    def _copy(self, segment: Segment, codes: Codes) -> DeviceCodes:
        """The copy of a segment, made once after its checksums were verified; of two threads' copies one is kept."""
        import torch

        from colsearch_kernels.gpu import torch_backend

        copy = self._copies.get(segment)
        if copy is None:
            segment.verify(None)
            try:
                copy = torch_backend.DeviceCodes.copy_of(codes, self.name)
            except torch.cuda.OutOfMemoryError as error:
                gigabytes = torch_backend.device_bytes(codes) / 1e9
                raise ConfigError(
                    f"{segment.file.path} takes {gigabytes:.1f} GB, which {self.name} does not have free; "
                    "open the index without device=, to search it on the CPU"
                ) from error
            segment.file.release()
            copy = self._copies.setdefault(segment, copy)
        return copy
