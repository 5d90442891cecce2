"""The data that kernels score: bit planes of documents, and queries on a 7-bit grid.

One token vector is `dim` numbers, padded with zeros to `padded_dim` and rotated; each rotated number
is an integer u of B bits on the token's own uniform grid, and its value is

    (u - (2**B - 1) / 2) / 2**B * width

The planes of a code are the high to low bits of the same u: for plane_bits (4, 4), plane 0 holds the top
four bits and plane 1 the low four. Reading planes 0..i gives the top b_i bits, a number on a coarser grid
of 2**b_i cells, with a width of its own (see `quantize.encode` for how widths are chosen).

The bytes of one token in a plane of b = 1, 2, 4 or 8 bits are little-endian 32-bit words, and word w holds the dims
from w * (32 / b) on. `(word >> b * s) & mask` are four consecutive dims, one per byte, as vpdpbusd and sdot take them:
byte j of the shifted word is dim `w * (32 / b) + 4 * s + j`. A plane of 6 bits is a 4-bit block (the high bits of the
six) followed by a 2-bit block.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from colsearch_kernels.arguments import F32, I8, I64, MAX_PADDED_DIM, U8, U16, TokenLayout
from colsearch_kernels.checks import checked_array
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.runtime.lazy import lazy

PLANE_BITS = ((8,), (4,), (2,), (1,), (4, 4), (2, 6))
# |q| <= 63: AVX2's maddubs adds two products of u8 and s8 in 16 bits and saturates beyond.
QUERY_MAX = 63
# As integers, all float16 from this one on are infinite, NaN or negative.
FIRST_BAD_WIDTH_BITS = 0x7C00


def checked_plane_bits(plane_bits: tuple[int, ...]) -> tuple[int, ...]:
    """The same tuple, if it is one of the layouts of format 1."""
    if tuple(plane_bits) not in PLANE_BITS:
        raise KernelInputError(f"planes must be one of {PLANE_BITS}, not {tuple(plane_bits)!r}")
    return tuple(plane_bits)


def checked_n_planes(n_planes: int | None, plane_bits: tuple[int, ...]) -> int:
    """The number of planes to read; None stands for all of them."""
    if n_planes is None:
        return len(plane_bits)
    if not 1 <= n_planes <= len(plane_bits):
        raise KernelInputError(
            f"n_planes must be 1..{len(plane_bits)} for planes {plane_bits}, not {n_planes}"
        )
    return n_planes


def block_bits(bits: int) -> tuple[int, ...]:
    """Bits of the blocks that a row of one plane is stored in, high bits first: itself, or 4 then 2 for 6."""
    return (4, 2) if bits == 6 else (bits,)


class StoredBlock(NamedTuple):
    """One block of a token's row.

    Attributes:
        plane: number of the plane that the block lies in.
        first_byte: place of the block in the plane's row.
        bits_below: bits of the integer u that are lower than the block's.
        bits: bits per dim.
    """

    plane: int
    first_byte: int
    bits_below: int
    bits: int


def stored_blocks(plane_bits: tuple[int, ...], n_dims: int) -> list[StoredBlock]:
    """The blocks of all planes, high bits first."""
    blocks = []
    bits_below = sum(plane_bits)
    for plane, bits in enumerate(plane_bits):
        first_byte = 0
        for block in block_bits(bits):
            bits_below -= block
            blocks.append(StoredBlock(plane, first_byte, bits_below, block))
            first_byte += n_dims * block // 8
    return blocks


def padded_dim(dim: int, plane_bits: tuple[int, ...]) -> int:
    """`dim` rounded up so that every block of every plane fills whole 32-bit words."""
    narrowest = min(block for bits in plane_bits for block in block_bits(bits))
    step = 32 // narrowest
    return -(-dim // step) * step


def bad_widths(widths: U16) -> I64:
    """Places of the widths, as float16 bits, that are not finite or are negative."""
    return np.flatnonzero(widths >= FIRST_BAD_WIDTH_BITS)


@dataclass(frozen=True, eq=False)
class Codes:
    """Documents as bit planes: flat token rows and the offsets of the documents; arrays may be memory maps.

    Attributes:
        dim: of the vectors before padding.
        plane_bits: one of `PLANE_BITS`.
        planes: per plane (n_tokens, padded_dim * bits / 8) uint8, C-contiguous.
        widths: per plane (n_tokens,) uint16, the bits of a finite float16 >= 0: the grid width of the code
            that planes 0..i make together.
        offsets: (n_docs + 1,) int64, ascending from 0 to n_tokens; document i owns tokens
            offsets[i]..offsets[i + 1] - 1, possibly none.
    Raises: KernelInputError: if a type, shape or offset does not hold. Every plane byte is a valid code;
        widths are not read here (a memory map would be paged in), see `check_widths`.
    """

    dim: int
    plane_bits: tuple[int, ...]
    planes: tuple[U8, ...]
    widths: tuple[U16, ...]
    offsets: I64

    def __post_init__(self) -> None:
        checked_plane_bits(self.plane_bits)
        if self.dim < 1 or self.padded_dim > MAX_PADDED_DIM:
            raise KernelInputError(f"dim must be 1..{MAX_PADDED_DIM}, not {self.dim}")
        _check_offsets(self.offsets)
        if not len(self.plane_bits) == len(self.planes) == len(self.widths):
            raise KernelInputError(
                f"{len(self.plane_bits)} planes named, but {len(self.planes)} planes "
                f"and {len(self.widths)} widths given"
            )
        for bits, plane, width in zip(self.plane_bits, self.planes, self.widths):
            row_bytes = self.padded_dim * bits // 8
            checked_array(plane, np.uint8, (self.n_tokens, row_bytes), f"plane of {bits} bits")
            checked_array(width, np.uint16, (self.n_tokens,), f"widths of the plane of {bits} bits")

    @lazy
    def padded_dim(self) -> int:
        return padded_dim(self.dim, self.plane_bits)

    @lazy
    def token_layouts(self) -> dict[int, TokenLayout]:
        """The layouts that `token_layout.of_codes` has built, by the number of planes."""
        return {}

    def check_widths(self) -> None:
        """Raise KernelInputError unless all widths are finite and not negative; reads 2 bytes a token."""
        for bits, width in zip(self.plane_bits, self.widths):
            bad = bad_widths(width)
            if len(bad):
                raise KernelInputError(
                    f"widths of the plane of {bits} bits: token {bad[0]} has {width.view(np.float16)[bad[0]]}"
                )

    @property
    def n_docs(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_tokens(self) -> int:
        return int(self.offsets[-1])

    @property
    def doclens(self) -> I64:
        return np.diff(self.offsets)


@dataclass(frozen=True, eq=False)
class QuantizedQuery:
    """A rotated query on a 7-bit grid; the same integers on every machine.

    Attributes:
        values: (n_query_tokens, padded_dim) int8 within -63..63.
        scales: (n_query_tokens,) float32 >= 0; the rotated query is about values * scales[:, None].
    """

    values: I8
    scales: F32

    def __post_init__(self) -> None:
        n_query_tokens, n_dims = self.values.shape if self.values.ndim == 2 else (0, 0)
        if n_query_tokens < 1 or n_dims < 1:
            raise KernelInputError(f"query must be (n_query_tokens >= 1, dim >= 1), not {self.values.shape}")
        checked_array(self.values, np.int8, (n_query_tokens, n_dims), "query values")
        checked_array(self.scales, np.float32, (n_query_tokens,), "query scales")
        if int(self.values.max()) > QUERY_MAX or int(self.values.min()) < -QUERY_MAX:
            raise KernelInputError(f"query values must lie within -{QUERY_MAX}..{QUERY_MAX}")
        if not (np.isfinite(self.scales).all() and (self.scales >= 0).all()):
            raise KernelInputError("query scales must be finite and not negative")

    @classmethod
    def unchecked(cls, values: I8, scales: F32) -> "QuantizedQuery":
        """A query whose arrays come from our own kernel, so that they need no check."""
        query = object.__new__(cls)
        object.__setattr__(query, "values", values)
        object.__setattr__(query, "scales", scales)
        return query

    @property
    def padded_dim(self) -> int:
        return int(self.values.shape[1])

    def __len__(self) -> int:
        return len(self.values)


def _check_offsets(offsets: I64) -> None:
    if not isinstance(offsets, np.ndarray) or offsets.ndim != 1 or len(offsets) < 1:
        raise KernelInputError("offsets: need a 1-d int64 array of n_docs + 1 numbers, starting with 0")
    checked_array(offsets, np.int64, offsets.shape, "offsets")
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise KernelInputError("offsets: must start with 0 and never decrease")
