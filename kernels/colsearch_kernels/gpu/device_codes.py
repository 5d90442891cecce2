"""Codes on a torch device: copied there once, in portions, then scored by any number of queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from colsearch_kernels.arguments import I64
from colsearch_kernels.layout.codes import Codes
from colsearch_kernels.runtime.lazy import lazy

# Bytes that a copy holds on the host at once.
_PORTION_BYTES = 64 << 20
# Bytes between the beginnings of arrays that are copied together; loads of 16 bytes want it.
_ALIGNMENT = 16


@dataclass(frozen=True, eq=False)
class DeviceCodes:
    """`Codes` on a torch device.

    Attributes:
        planes: per plane (n_tokens, padded_dim * bits / 8) uint8.
        widths: per plane (n_tokens,) float16.
        offsets: (n_docs + 1,) int64.
        host_offsets: the same on the host, to cut chunks without asking the device.
    """

    padded_dim: int
    plane_bits: tuple[int, ...]
    planes: tuple[torch.Tensor, ...]
    widths: tuple[torch.Tensor, ...]
    offsets: torch.Tensor
    host_offsets: I64

    @classmethod
    def copy_of(cls, codes: Codes, device: str | torch.device) -> "DeviceCodes":
        """Copy codes (memory maps too) to a device.

        Raises:
            KernelInputError: for widths that are not finite.
            torch.cuda.OutOfMemoryError: if they do not fit there; `device_bytes` gives their size.
        """
        codes.check_widths()
        return cls(
            codes.padded_dim,
            codes.plane_bits,
            tuple(to_device(plane, device) for plane in codes.planes),
            tuple(to_device(width.view(np.float16), device) for width in codes.widths),
            to_device(codes.offsets, device),
            np.array(codes.offsets),
        )

    @lazy
    def device(self) -> torch.device:
        return self.offsets.device

    @property
    def n_docs(self) -> int:
        return len(self.host_offsets) - 1


def device_bytes(codes: Codes) -> int:
    """Bytes that a copy of the codes takes on a device."""
    plane_bytes = sum(plane.nbytes for plane in codes.planes)
    return plane_bytes + sum(width.nbytes for width in codes.widths) + codes.offsets.nbytes


def to_device(array: NDArray[np.generic], device: str | torch.device) -> torch.Tensor:
    """A copy of an array of at least one axis; at most a portion of a memory map is in memory at once."""
    copy = torch.empty(array.shape, dtype=_dtype(array), device=device)
    n_rows = max(1, _PORTION_BYTES * len(array) // max(array.nbytes, 1))
    for first in range(0, len(array), n_rows):
        # torch warns of arrays that are read-only, such as memory maps.
        copy[first : first + n_rows] = torch.from_numpy(np.array(array[first : first + n_rows]))
    return copy


def to_device_at_once(arrays: Sequence[NDArray[Any]], device: str | torch.device) -> list[torch.Tensor]:
    """Copies of small arrays, in one transfer: each costs about ten microseconds."""
    starts = [0]
    for array in arrays:
        starts.append(starts[-1] + -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT)
    together = bytearray(starts[-1])
    for start, array in zip(starts, arrays):
        together[start : start + array.nbytes] = array.tobytes()
    copy = torch.frombuffer(together, dtype=torch.uint8).to(device)
    return [
        copy[start : start + array.nbytes].view(_dtype(array)).view(array.shape)
        for start, array in zip(starts, arrays)
    ]


def _dtype(array: NDArray[np.generic]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, array.dtype)).dtype
