"""The float kernels against the reference in float64, for all element types and shapes that hurt."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import colsearch_kernels as kernels
from colsearch_kernels import reference
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.runtime.tiers import tier
from colsearch_kernels.scoring import maxsim_floats


def rounded(values: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 numbers, even on ties, as float32."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    dim=st.sampled_from([1, 2, 3, 7, 48, 64, 96, 128, 131, 384]),
    doclens=st.lists(st.integers(0, 40), min_size=0, max_size=6),
    n_query_tokens=st.sampled_from([1, 2, 16, 17, 32, 33, 48, 512]),
    source=st.sampled_from(["float32", "float16", "bfloat16"]),
    compute=st.sampled_from(["float32", "bfloat16"]),
    shift=st.sampled_from([0.0, -4.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_scores_agree_with_float64(
    dim: int, doclens: list[int], n_query_tokens: int, source: str, compute: str, shift: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query = np.abs(rng.standard_normal((n_query_tokens, dim), np.float32))
    # Shifted, nearly all similarities are negative: a padded zero would win.
    vectors = rng.standard_normal((sum(doclens), dim), np.float32) + np.float32(shift)
    if source == "float16":
        vectors = vectors.astype(np.float16)
    if source == "bfloat16":
        vectors = (rounded(vectors).view(np.uint32) >> 16).astype(np.uint16)
    numbers = vectors.astype(np.float32)
    if source == "bfloat16":
        numbers = (vectors.astype(np.uint32) << 16).view(np.float32)
    if compute == "bfloat16":
        numbers, query = rounded(numbers), rounded(query)
    lengths = np.array(doclens, np.int64)
    scores = kernels.maxsim(query, vectors, lengths, compute=compute, n_threads=2)  # type: ignore[arg-type]
    expected = reference.maxsim(query, numbers, lengths)
    size = np.abs(query).sum() * np.abs(numbers).max(initial=0)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=4e-7 * size)
    documents = np.split(vectors, np.cumsum(lengths)[:-1]) if doclens else []
    np.testing.assert_array_equal(
        kernels.maxsim_list(query, documents, compute=compute),  # type: ignore[arg-type]
        scores,
    )


def test_a_document_scores_the_same_alone_and_in_any_batch() -> None:
    rng = np.random.default_rng(1)
    doclens = np.array([1, 13, 40, 3])
    vectors = rng.standard_normal((57, 96), np.float32)
    query = rng.standard_normal((19, 96), np.float32)
    together = kernels.maxsim(query, vectors, doclens)
    alone = [kernels.maxsim_list(query, [d])[0] for d in np.split(vectors, np.cumsum(doclens)[:-1])]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("token", [0, 5, 20, 29])
def test_one_number_that_is_not_finite_is_an_error(
    compute: str, dtype: type, value: float, token: int
) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((30, 33), np.float32).astype(dtype)
    vectors[token, 7] = value
    query = rng.standard_normal((20, 33), np.float32)
    with pytest.raises(KernelInputError, match=f"document {int(token >= 21)} and 0 more hold NaN"):
        kernels.maxsim(query, vectors, np.array([21, 9]), compute=compute)  # type: ignore[arg-type]
    query[3, 3] = value
    with pytest.raises(KernelInputError, match="the query holds NaN or infinity"):
        kernels.maxsim(query, np.ones((3, 33), np.float32), np.array([3]))


def test_an_overflow_of_finite_numbers_is_an_error() -> None:
    huge = np.full((3, 8), 1e38, np.float32)
    with pytest.raises(KernelInputError, match="overflow float32"):
        kernels.maxsim(huge, huge, np.array([3]))


GOOD = {
    "query": np.ones((2, 4), np.float32),
    "vectors": np.ones((3, 4), np.float32),
    "doclens": np.array([1, 2]),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"doclens": np.array([1, 1])}, "sum to 3 tokens, not 2"),
        ({"doclens": np.array([-1, 4])}, "must be >= 0"),
        ({"doclens": np.array([2**62, 2**62, 2**62, 2**62, 3])}, "must be >= 0 and sum to 3"),
        ({"doclens": np.array([3], np.int32)}, "1-d int64"),
        ({"vectors": np.ones((3, 4))}, "need float32, float16 or bfloat16"),
        ({"vectors": np.ones((3, 4), ">f4")}, "byte order"),
        ({"vectors": np.ones((4, 3), np.float32).T}, "C-contiguous"),
        ({"vectors": np.ones((3, 8), np.float32)[:, ::2]}, "C-contiguous"),
        ({"vectors": np.ones(49, np.uint8)[1:].view(np.float32).reshape(3, 4)}, "aligned"),
        ({"vectors": [[1.0] * 4] * 3}, "2-d array"),
        ({"query": np.ones((2, 5), np.float32)}, "does not fit documents of dim 4"),
        ({"query": np.ones((0, 4), np.float32)}, "does not fit"),
        ({"query": np.ones(4, np.float32)}, "2-d array"),
        ({"compute": "float16"}, "compute must be one of"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
    ],
)
def test_input_that_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(KernelInputError, match=message):
        kernels.maxsim(**{**GOOD, **change})  # type: ignore[arg-type]


def test_lengths_may_lie_anywhere_in_memory() -> None:
    expected = kernels.maxsim(**GOOD)  # type: ignore[arg-type]
    for n_bytes_before, step in ((1, 1), (8, 2)):
        memory = np.zeros(64, np.uint8)
        lengths = memory[n_bytes_before : n_bytes_before + 32].view(np.int64)[: 2 * step : step]
        lengths[:] = GOOD["doclens"]
        found = kernels.maxsim(GOOD["query"], GOOD["vectors"], lengths)
        np.testing.assert_array_equal(found, expected)


def test_documents_of_a_list_must_agree() -> None:
    query = np.ones((2, 4), np.float32)
    with pytest.raises(KernelInputError, match="one dtype and one dim"):
        kernels.maxsim_list(query, [np.ones((1, 4), np.float32), np.ones((1, 4), np.float16)])
    with pytest.raises(KernelInputError, match=r"\[4, 5\]"):
        kernels.maxsim_list(query, [np.ones((1, 4), np.float32), np.ones((1, 5), np.float32)])
    with pytest.raises(KernelInputError, match="document 1: need C-contiguous"):
        kernels.maxsim_list(query, [np.ones((4, 4), np.float32), np.ones((4, 4), np.float32).T])
    with pytest.raises(KernelInputError, match="document 1: need a 2-d array"):
        kernels.maxsim_list(query, [np.ones((1, 4), np.float32), [[1.0] * 4]])  # type: ignore[list-item]
    assert kernels.maxsim_list(query, []).shape == (0,)


@pytest.mark.parametrize("n_query_tokens", [1, 15, 16, 31, 33])
@pytest.mark.parametrize("dim", [1, 15, 17, 40])
def test_a_packed_query_has_word_w_of_token_t_in_lane_t_of_row_w(n_query_tokens: int, dim: int) -> None:
    query = np.random.default_rng(0).standard_normal((n_query_tokens, dim), np.float32)
    packed = maxsim_floats._packed_query(query, dim, "float32")
    n_vectors = -(-n_query_tokens // 16)
    words = packed[: 64 * n_vectors * dim].view(np.float32)
    padded = np.zeros((16 * n_vectors, dim), np.float32)
    padded[:n_query_tokens] = query
    whole = n_vectors // tier().vectors * tier().vectors
    groups = [*range(0, whole, tier().vectors), *range(whole, n_vectors), n_vectors]
    expected = [padded[16 * a : 16 * b].T.ravel() for a, b in pairwise(groups)]
    np.testing.assert_array_equal(words, np.concatenate(expected))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.ones((3, 4), np.uint8)}, "2-d int8"),
        ({"scales": np.ones(2, np.float32)}, "do not fit together"),
        ({"scales": np.ones(3)}, "1-d float32"),
        ({"scales": np.array([1, np.inf, 1], np.float32)}, "not finite"),
        ({"query": np.full((2, 4), np.nan, np.float32)}, "NaN"),
        ({"doclens": np.array([4])}, "sum to 3"),
    ],
)
def test_int8_input_that_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    good = {**GOOD, "vectors": np.ones((3, 4), np.int8), "scales": np.ones(3, np.float32)}
    with pytest.raises(KernelInputError, match=message):
        kernels.maxsim_int8(**{**good, **change})  # type: ignore[arg-type]
