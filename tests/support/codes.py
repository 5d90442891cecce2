"""Random codes and queries for the kernels' tests."""

import hashlib

import numpy as np

from colsearch_kernels import reference
from colsearch_kernels.layout import quantize, rotation
from colsearch_kernels.layout.codes import PLANE_BITS, Codes, QuantizedQuery, padded_dim

# Tokens of the documents that `encode_random` makes.
DOCLENS = [1, 0, 7, 40, 1, 33, 0, 5]


def draw_codes(
    rng: np.random.Generator, dim: int, plane_bits: tuple[int, ...], doclens: list[int], few: bool = False
) -> Codes:
    """Codes of random integers; `few` different ones, so that scores tie."""
    n_tokens = sum(doclens)
    values = rng.integers(0, 2 ** sum(plane_bits), (n_tokens, padded_dim(dim, plane_bits)), dtype=np.uint8)
    widths = tuple(rng.uniform(0, 1, n_tokens).astype(np.float16).view(np.uint16) for _ in plane_bits)
    if few:
        values[:] = values[: max(1, n_tokens // 8)][rng.integers(0, max(1, n_tokens // 8), n_tokens)]
        widths = tuple(np.full(n_tokens, 0x3800, np.uint16) for _ in plane_bits)
    offsets = np.concatenate([[0], np.cumsum(doclens)]).astype(np.int64)
    return Codes(dim, plane_bits, reference.pack(values, plane_bits), widths, offsets)


def draw_query(rng: np.random.Generator, n_query_tokens: int, n_dims: int) -> QuantizedQuery:
    return reference.quantize_query(rng.standard_normal((n_query_tokens, n_dims), np.float32))


def encode_random(
    dim: int, plane_bits: tuple[int, ...], doclens: list[int] = DOCLENS, n_query: int = 5, seed: int = 0
) -> tuple[Codes, QuantizedQuery]:
    """Codes of random vectors, and a query."""
    rng = np.random.default_rng(seed)
    # All similarities of a document to a query token may be negative: the mean of the documents is not zero.
    vectors = rng.standard_normal((sum(doclens), dim), np.float32) + 1
    planes, widths = quantize.encode(vectors, plane_bits, 1)
    offsets = np.concatenate([[0], np.cumsum(doclens)]).astype(np.int64)
    query = rng.standard_normal((n_query, dim), np.float32) - np.float32(0.5)
    codes = Codes(dim, plane_bits, planes, widths, offsets)
    return codes, quantize.quantize_query(query, plane_bits, 1)


def code_digest() -> str:
    """One number for rotation, codes and query of a fixed input that any NumPy makes alike."""
    digest = hashlib.sha256()
    for dim in (5, 48, 96, 128, 384):
        angles = np.arange(37 * dim, dtype=np.int64) * 7919 % 2003 - 1001
        vectors = (angles.reshape(37, dim) / np.float64(512)).astype(np.float32)
        for plane_bits in PLANE_BITS:
            digest.update(rotation.rotate(vectors, plane_bits, 9).tobytes())
            planes, widths = quantize.encode(vectors, plane_bits, 9)
            query = quantize.quantize_query(vectors[:3], plane_bits, 9)
            for array in (*planes, *widths, query.values, query.scales):
                digest.update(array.tobytes())
    return digest.hexdigest()[:16]
