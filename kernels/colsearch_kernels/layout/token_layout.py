"""The layout of a segment's document rows in memory, as kernels take it."""

import numpy as np

from colsearch_kernels.arguments import (
    BITS_1,
    BITS_2,
    BITS_2_6,
    BITS_4,
    BITS_4_4,
    BYTES,
    F32,
    I8,
    I64,
    SIGNED,
    TokenFormat,
    TokenLayout,
)
from colsearch_kernels.layout.codes import Codes

_KINDS = {(8,): BYTES, (4,): BITS_4, (2,): BITS_2, (1,): BITS_1, (4, 4): BITS_4_4, (2, 6): BITS_2_6}


def layout_of_codes(codes: Codes, n_planes: int) -> TokenLayout:
    """The layout of the first `n_planes` planes, built once for each number of planes."""
    layout = codes.token_layouts.get(n_planes)
    if layout is None:
        layout = codes.token_layouts[n_planes] = _layout_of_codes(codes, n_planes)
    return layout


def _layout_of_codes(codes: Codes, n_planes: int) -> TokenLayout:
    bits = sum(codes.plane_bits[:n_planes])
    first, last = codes.planes[0], codes.planes[n_planes - 1]
    token_format = TokenFormat(
        kind=_KINDS[codes.plane_bits[:n_planes]],
        row_bytes0=first.shape[1],
        row_bytes1=last.shape[1] if n_planes == 2 else 0,
        scale=np.float32(2.0 ** -(bits + 1)),
        n_dims=codes.padded_dim,
        center=(1 << bits) - 1,
    )
    return TokenLayout(token_format, first, last, codes.widths[n_planes - 1], codes.offsets, codes.n_docs)


def layout_of_bytes(vectors: I8, scales: F32, offsets: I64) -> TokenLayout:
    """The layout of signed bytes v, stored as they are and scored as u = v + 128: 2 * v = 2 * u - 256.

    Args:
        vectors: (n_tokens, dim) int8.
        scales: (n_tokens,) float32.
        offsets: (n_docs + 1,) int64.
    """
    dim = vectors.shape[1]
    token_format = TokenFormat(
        kind=SIGNED,
        row_bytes0=dim,
        row_bytes1=0,
        scale=np.float32(0.5),
        n_dims=-(-dim // 4) * 4,
        center=256,
    )
    return TokenLayout(token_format, vectors, vectors, scales, offsets, len(offsets) - 1)
