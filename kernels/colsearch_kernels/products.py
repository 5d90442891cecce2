"""Products around one query, on the caller's thread: BLAS would wake its threads, which costs more than the sum."""

import numpy as np

from colsearch_kernels import integer
from colsearch_kernels.codes import F32, I8, QuantizedQuery, address
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.jit import kernel
from colsearch_kernels.packing import PackedQueries, Rows, aligned_block


class DotProducts:
    """Dot products of quantized tokens with a fixed set of others, such as landmarks.

    In integers, so that they are the same on every machine. `len` is the number of the others.
    """

    def __init__(self, others: QuantizedQuery) -> None:
        self._others = others
        self._packed = PackedQueries([others], _rows(others, np.zeros(1, np.int64)))

    def __len__(self) -> int:
        return len(self._others)

    def of(self, tokens: QuantizedQuery) -> F32:
        """(n_tokens, n_others) float32.

        Raises: KernelInputError: if the tokens have another number of dims.
        """
        if tokens.padded_dim != self._others.padded_dim:
            raise KernelInputError(
                f"tokens of padded dim {tokens.padded_dim} have no product with others of "
                f"{self._others.padded_dim}"
            )
        # Each token is a document of its own, whose best token it is.
        offsets = np.arange(len(tokens) + 1)
        rows, packed = _rows(tokens, offsets), self._packed
        products = np.empty((len(tokens), len(self)), np.float32)
        _memory, scratch = aligned_block(integer.scratch_bytes(rows.n_dims, packed.n_vectors))
        integer.document_maxima(  # type: ignore[no-untyped-call]
            rows.layout, rows.plane0, rows.plane1, rows.bytes0, rows.bytes1, rows.widths, rows.scale,
            rows.offsets, 0, 0, len(tokens), rows.n_dims, packed.values, packed.initial, packed.scales,
            packed.n_vectors, scratch, address(products), len(self),
        )  # fmt: skip
        return products


def weighted_sum(weights: F32, rows: I8) -> F32:
    """(m,) float32: weights @ rows, always the same to the bit.

    Args:
        weights: (n,) float32.
        rows: (n, m) int8.
    Raises: KernelInputError.
    """
    for name, array, dtype, n_axes in (("weights", weights, np.float32, 1), ("rows", rows, np.int8, 2)):
        if array.dtype != dtype or array.ndim != n_axes or not array.flags.c_contiguous:
            raise KernelInputError(f"{name} must be {n_axes}-d, C-contiguous {np.dtype(dtype).name}")
    if len(weights) != len(rows):
        raise KernelInputError(f"{len(weights)} weights, but {len(rows)} rows")
    total = np.zeros(rows.shape[1], np.float32)
    # One signature is compiled, of arrays that may be written.
    weights = weights if weights.flags.writeable else weights.copy()
    rows = rows if rows.flags.writeable else rows.copy()
    _weighted_sum(weights, rows, total)  # type: ignore[no-untyped-call]
    return total


@kernel
def _weighted_sum(weights, rows, total):  # type: ignore[no-untyped-def]
    """total += weights @ rows, eight rows at a time, so that `total` is read an eighth as often."""
    n = weights.shape[0]
    whole = n // 8 * 8
    for i in range(0, whole, 8):
        w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        w4, w5, w6, w7 = weights[i + 4], weights[i + 5], weights[i + 6], weights[i + 7]
        for j in range(rows.shape[1]):
            total[j] += (
                (w0 * np.float32(rows[i, j]) + w1 * np.float32(rows[i + 1, j]))
                + (w2 * np.float32(rows[i + 2, j]) + w3 * np.float32(rows[i + 3, j]))
                + (w4 * np.float32(rows[i + 4, j]) + w5 * np.float32(rows[i + 5, j]))
                + (w6 * np.float32(rows[i + 6, j]) + w7 * np.float32(rows[i + 7, j]))
            )
    for i in range(whole, n):
        for j in range(rows.shape[1]):
            total[j] += weights[i] * np.float32(rows[i, j])


def _rows(tokens: QuantizedQuery, offsets: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Rows:
    return Rows.of_bytes(tokens.values, tokens.scales, offsets)
