"""No kernel reads or writes a byte outside of its arrays: each lies against a page that nobody may touch."""

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import colsearch_kernels as kernels
from colsearch_kernels import reference
from colsearch_kernels.layout import packing, quantize, rotation
from colsearch_kernels.layout.codes import PLANE_BITS, Codes, QuantizedQuery
from colsearch_kernels.prefilter import features, lookups
from colsearch_kernels.scoring import (
    maxsim_codes,
    maxsim_floats,
    maxsim_int8,
    ordering,
    scattered,
    stop_rule,
)
from tests.support.children import run_in_child
from tests.support.codes import draw_codes, draw_query

_PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)
_KEPT: list[mmap.mmap] = []
DOCLENS = [1, 0, 2, 13, 12, 40, 3, 11]
DIMS = [1, 20, 48, 64, 96, 128, 200, 384]


def fenced(n_bytes: int, *, at_end: bool, align: int = 1) -> np.ndarray[Any, Any]:
    """(n_bytes,) uint8 that ends (or begins) where a forbidden page begins (or ends)."""
    n_pages = max(1, -(-n_bytes // _PAGE))
    memory = mmap.mmap(-1, (n_pages + 2) * _PAGE)
    whole = np.frombuffer(memory, np.uint8)
    first = whole.ctypes.data
    for page in (first, first + (n_pages + 1) * _PAGE):
        assert _LIBC.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), 0) == 0
    _KEPT.append(memory)
    start = _PAGE + (n_pages * _PAGE - n_bytes) // align * align if at_end else _PAGE
    return whole[start : start + n_bytes]


def behind_fence(array: np.ndarray[Any, Any], *, at_end: bool) -> np.ndarray[Any, Any]:
    """A copy, read-only as a memory map is."""
    copy = fenced(array.nbytes, at_end=at_end).view(array.dtype).reshape(array.shape)
    copy[...] = array
    copy.flags.writeable = False
    return copy


def fence(codes: Codes, at_end: bool) -> Codes:
    planes, widths = (
        tuple(behind_fence(a, at_end=at_end) for a in arrays) for arrays in (codes.planes, codes.widths)
    )
    return Codes(codes.dim, codes.plane_bits, planes, widths, behind_fence(codes.offsets, at_end=at_end))


def fence_query(query: QuantizedQuery, at_end: bool) -> QuantizedQuery:
    return QuantizedQuery(
        behind_fence(query.values, at_end=at_end), behind_fence(query.scales, at_end=at_end)
    )


class _FencedNumpy:
    """NumPy, whose `empty` gives fenced memory: what kernels write to."""

    def __init__(self, at_end: bool) -> None:
        self._at_end = at_end

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any = np.float64) -> np.ndarray[Any, Any]:
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return fenced(n_bytes, at_end=self._at_end).view(dtype).reshape(shape)


def query_vectors(landmarks: QuantizedQuery) -> kernels.QueryVectors:
    features = kernels.TokenFeatures(landmarks, 5.0)
    ones = np.ones(len(features), np.float32)
    projection = np.ones((7, -(-len(features) // 4) * 4), np.int8)
    return kernels.QueryVectors(features, QuantizedQuery(projection, np.ones(7, np.float32)), ones, ones)


def compile_what_names_numpy() -> None:
    """Before `np` is another in their modules."""
    rng = np.random.default_rng(0)
    codes, query = draw_codes(rng, 4, (8,), [1]), draw_query(rng, 1, 4)
    scorer = kernels.ScatteredScorer(query, kernels.Scattered([codes]))
    scorer.follow(np.zeros(1, np.int64), np.zeros(1, np.float32), k=1, stop_deviations=0.0)
    nothing = np.zeros(1, np.float32)
    lookups = kernels.Lookups([np.zeros((1, 4), np.uint8)], [np.zeros((8, 16, 2), np.float32)])
    lookups.add_products_and_sort(np.zeros(1, np.int64), nothing, np.zeros(16, np.float32))
    kernels.TokenFeatures(query, 5.0).compute(query)
    query_vectors(query).embed(query)
    one = np.ones((1, 4), np.float32)
    maxsim_int8.maxsim_int8(one, np.ones((1, 4), np.int8), np.ones(1, np.float32), np.ones(1, np.int64))


def survived(check: Callable[[], None], monkeypatch: pytest.MonkeyPatch, at_end: bool) -> None:
    """Run it in a child, with scratch memory and results fenced as well."""

    def block(n_bytes: int, *, zeroed: bool = False) -> Any:
        return fenced(n_bytes, at_end=at_end, align=64)

    compile_what_names_numpy()
    for module in (
        features,
        lookups,
        maxsim_codes,
        maxsim_floats,
        maxsim_int8,
        ordering,
        packing,
        quantize,
        rotation,
        scattered,
        stop_rule,
    ):
        monkeypatch.setattr(module, "aligned_block", block, raising=False)
        monkeypatch.setattr(module, "np", _FencedNumpy(at_end))
    run_in_child(check, seconds=120).unwrap()


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
@pytest.mark.parametrize("plane_bits", PLANE_BITS)
def test_code_kernels_stay_within_their_arrays(
    plane_bits: tuple[int, ...], at_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> None:
        rng = np.random.default_rng(0)
        for dim in DIMS:
            codes = draw_codes(rng, dim, plane_bits, DOCLENS)
            for n_query_tokens in (1, 16, 17, 40):
                query = draw_query(rng, n_query_tokens, codes.padded_dim)
                expected = reference.score_codes(query, codes)
                inside, asked = fence(codes, at_end), fence_query(query, at_end)
                ordinals = behind_fence(np.arange(codes.n_docs)[::-1].copy(), at_end=at_end)
                assert (kernels.score_codes(asked, inside) == expected).all()
                assert (kernels.score_codes(asked, inside, ordinals=ordinals) == expected[::-1]).all()
                assert (kernels.score_codes_batch([asked, asked], inside) == expected).all()
                kernels.score_codes(asked, inside, n_planes=1)
                kernels.top_k(asked, inside, 3)
                assert (kernels.token_maxima(asked, inside) == reference.token_maxima(query, codes)).all()
                kernels.align(asked, inside, 5)
                pieces = kernels.Scattered([inside, inside])
                scorer = kernels.ScatteredScorer(asked, pieces)
                assert (scorer.score(ordinals) == expected[::-1]).all()
                estimates = behind_fence(np.zeros(len(ordinals), np.float32), at_end=at_end)
                verified = behind_fence(np.ones(pieces.n_docs, np.uint8), at_end=at_end)
                following = scorer.start_following(
                    ordinals, estimates, k=3, stop_deviations=99.0, first_check=2, verified=verified
                )
                assert following.advance() is None
                scores = following.result.scores
                assert (scores == expected[::-1][: len(scores)]).all()
                kernels.TokenFeatures(asked, 5.0).compute(asked)
                query_vectors(asked).embed(asked)

    survived(check, monkeypatch, at_end)


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint16"])
def test_float_kernels_stay_within_their_arrays(
    dtype: str, compute: Any, at_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> None:
        rng = np.random.default_rng(1)
        doclens = np.array(DOCLENS)
        for dim in DIMS:
            vectors = rng.standard_normal((doclens.sum(), dim), np.float32)
            halves = (vectors.view(np.uint32) >> 16).astype(np.uint16)
            array = halves if dtype == "uint16" else vectors.astype(dtype)
            meant = (halves.astype(np.uint32) << 16).view(np.float32) if dtype == "uint16" else array
            flat = behind_fence(array, at_end=at_end)
            alone = [behind_fence(a, at_end=at_end) for a in np.split(array, np.cumsum(doclens)[:-1])]
            for n_query_tokens in (1, 16, 33):
                query = behind_fence(rng.standard_normal((n_query_tokens, dim), np.float32), at_end=at_end)
                scores = kernels.maxsim(query, flat, behind_fence(doclens, at_end=at_end), compute=compute)
                exact = reference.maxsim(query, meant, doclens)
                tolerance = 2e-4 if compute == "float32" else 0.02
                np.testing.assert_allclose(scores, exact, rtol=tolerance, atol=tolerance * dim)
                assert (kernels.maxsim_list(query, alone, compute=compute) == scores).all()

    survived(check, monkeypatch, at_end)


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
def test_byte_kernels_stay_within_their_arrays(at_end: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        rng = np.random.default_rng(2)
        doclens = np.array(DOCLENS)
        for dim in DIMS:
            vectors = rng.integers(-128, 128, (doclens.sum(), dim)).astype(np.int8)
            scales = rng.uniform(0, 1, len(vectors)).astype(np.float32)
            query = rng.standard_normal((17, dim), np.float32)
            arrays = [behind_fence(a, at_end=at_end) for a in (query, vectors, scales, doclens)]
            assert (
                maxsim_int8.maxsim_int8(*arrays) == reference.maxsim_int8(query, vectors, scales, doclens)
            ).all()
            packed = behind_fence(rng.integers(0, 256, (21, 4 * dim), dtype=np.uint8), at_end=at_end)
            shapes = (2 * dim, 16, 5), (6 * dim, 16, 1)
            centroids = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
            asked = behind_fence(rng.standard_normal(16 * dim).astype(np.float32), at_end=at_end)
            rows = behind_fence(np.arange(21), at_end=at_end)
            products = behind_fence(np.zeros(21, np.float32), at_end=at_end)
            kernels.Lookups([packed], centroids).add_products_and_sort(rows, products, asked)

    survived(check, monkeypatch, at_end)


def test_a_fence_is_one() -> None:
    memory = fenced(100, at_end=True)
    beyond = np.lib.stride_tricks.as_strided(memory, (101,))
    assert run_in_child(lambda: int(memory.sum())).kind == "ok"
    assert run_in_child(lambda: int(beyond.sum())).kind == "signal"
