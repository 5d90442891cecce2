"""The integer kernels against the reference, to the bit, on shapes and values that hurt."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import colsearch_kernels as kernels
from colsearch_kernels import reference
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import PLANE_BITS, Codes, QuantizedQuery
from tests.support.codes import draw_codes, draw_query

ragged = st.lists(st.integers(0, 40), min_size=0, max_size=6)
dims = st.sampled_from([1, 7, 48, 64, 96, 128, 200, 384])
counts = st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 48, 512])


@settings(max_examples=60, deadline=None)
@given(
    dim=dims,
    plane_bits=st.sampled_from(PLANE_BITS),
    doclens=ragged,
    n_query_tokens=counts,
    few=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_scores_equal_the_reference_to_the_bit(
    dim: int, plane_bits: tuple[int, ...], doclens: list[int], n_query_tokens: int, few: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = draw_codes(rng, dim, plane_bits, doclens, few)
    query = draw_query(rng, n_query_tokens, codes.padded_dim)
    for n_planes in range(1, len(plane_bits) + 1):
        expected = reference.score_codes(query, codes, n_planes=n_planes)
        np.testing.assert_array_equal(kernels.score_codes(query, codes, n_planes=n_planes), expected)
        # Scattered, unsorted, with repeats, and in more threads than documents.
        ordinals = rng.integers(0, max(codes.n_docs, 1), 2 * codes.n_docs)
        np.testing.assert_array_equal(
            kernels.score_codes(query, codes, ordinals=ordinals, n_planes=n_planes, n_threads=3),
            expected[ordinals],
        )
        # As a view with steps between its numbers.
        apart = ordinals[::-2]
        np.testing.assert_array_equal(
            kernels.score_codes(query, codes, ordinals=apart, n_planes=n_planes), expected[apart]
        )


@pytest.mark.parametrize("plane_bits", PLANE_BITS)
@pytest.mark.parametrize("n_query_tokens", [1, 33])
def test_the_last_token_of_every_document_counts(plane_bits: tuple[int, ...], n_query_tokens: int) -> None:
    # In each document the last token alone is the best: losing it would change every score.
    rng = np.random.default_rng(1)
    doclens = list(range(1, 30))
    codes = draw_codes(rng, 128, plane_bits, doclens)
    query = QuantizedQuery(
        np.full((n_query_tokens, codes.padded_dim), 63, np.int8), np.ones(n_query_tokens, np.float32)
    )
    for plane, width in zip(codes.planes, codes.widths):
        plane[:] = 0
        plane[codes.offsets[1:] - 1] = 255
        width[:] = 0x3C00
    scores = kernels.score_codes(query, codes)
    np.testing.assert_array_equal(scores, reference.score_codes(query, codes))
    assert (scores > 0).all()


@settings(max_examples=15, deadline=None)
@given(
    plane_bits=st.sampled_from(PLANE_BITS),
    lengths=st.lists(counts.filter(lambda n: n < 100), min_size=0, max_size=4),
    doclens=ragged,
    seed=st.integers(0, 2**32 - 1),
)
def test_several_queries_in_one_pass_score_as_alone(
    plane_bits: tuple[int, ...], lengths: list[int], doclens: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = draw_codes(rng, 64, plane_bits, doclens)
    queries = [draw_query(rng, n, codes.padded_dim) for n in lengths]
    together = kernels.score_codes_batch(queries, codes, n_threads=2)
    assert together.shape == (len(queries), codes.n_docs)
    for scores, query in zip(together, queries):
        np.testing.assert_array_equal(scores, kernels.score_codes(query, codes))
    np.testing.assert_array_equal(together, reference.score_codes_batch(queries, codes))


@settings(max_examples=30, deadline=None)
@given(
    doclens=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    k=st.integers(1, 50),
    scattered=st.booleans(),
    with_dead=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_top_k_orders_ties_by_ordinal_and_leaves_the_dead_and_empty_out(
    doclens: list[int], k: int, scattered: bool, with_dead: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = draw_codes(rng, 16, (2,), doclens, few=True)
    query = draw_query(rng, 3, codes.padded_dim)
    ordinals = rng.permutation(codes.n_docs)[: codes.n_docs // 2 + 1] if scattered else None
    live = rng.random(codes.n_docs) < 0.6 if with_dead else None
    best, scores = kernels.top_k(query, codes, k, ordinals=ordinals, live=live)
    expected, expected_scores = reference.top_k(query, codes, k, ordinals=ordinals, live=live)
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_array_equal(scores, expected_scores)
    assert best.dtype == np.int64


def test_align_names_the_first_of_equal_tokens_and_adds_up_to_the_score() -> None:
    rng = np.random.default_rng(2)
    codes = draw_codes(rng, 128, (4, 4), [9, 0, 30], few=True)
    query = draw_query(rng, 20, codes.padded_dim)
    tokens, shares = kernels.align(query, codes, 2)
    similarity = reference.similarities(query, codes, 2)
    np.testing.assert_array_equal(tokens, similarity.argmax(axis=1))
    assert (similarity == similarity.max(axis=1)[:, None]).sum(axis=1).max() > 1
    np.testing.assert_allclose(shares.sum(), kernels.score_codes(query, codes)[2], rtol=1e-6)
    assert kernels.align(query, codes, 1)[0].tolist() == [-1] * 20


def test_memory_maps_and_read_only_arrays_score_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    codes = draw_codes(rng, 128, (4, 4), [5, 17, 1])
    query = draw_query(rng, 32, codes.padded_dim)
    mapped = []
    for i, array in enumerate([*codes.planes, *codes.widths, codes.offsets]):
        np.save(tmp_path / f"{i}.npy", array)
        mapped.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
    stored = Codes(128, (4, 4), tuple(mapped[:2]), tuple(mapped[2:4]), mapped[4])
    np.testing.assert_array_equal(kernels.score_codes(query, stored), kernels.score_codes(query, codes))


@settings(max_examples=40, deadline=None)
@given(
    dim=st.integers(1, 140),
    doclens=ragged,
    n_query_tokens=counts.filter(lambda n: n < 100),
    n_threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_int8_vectors_of_any_dim_score_as_the_reference(
    dim: int, doclens: list[int], n_query_tokens: int, n_threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query = rng.standard_normal((n_query_tokens, dim), np.float32)
    vectors = rng.integers(-128, 128, (sum(doclens), dim), dtype=np.int8)
    scales = rng.random(sum(doclens), np.float32)
    lengths = np.array(doclens, np.int64)
    np.testing.assert_array_equal(
        kernels.maxsim_int8(query, vectors, scales, lengths, n_threads=n_threads),
        reference.maxsim_int8(query, vectors, scales, lengths),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ordinals": np.array([0, 3])}, "documents 0..2"),
        ({"ordinals": np.array([-1])}, "documents 0..2"),
        ({"ordinals": np.array([2**62])}, "documents 0..2"),
        ({"ordinals": np.array([0], np.int32)}, "1-d int64"),
        ({"ordinals": np.array([[0]])}, "1-d int64"),
        ({"ordinals": [0]}, "1-d int64"),
        ({"n_planes": 3}, "n_planes must be 1..2"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, object], message: str) -> None:
    rng = np.random.default_rng(4)
    codes = draw_codes(rng, 128, (4, 4), [2, 3, 1])
    query = draw_query(rng, 4, codes.padded_dim)
    with pytest.raises(KernelInputError, match=message):
        kernels.score_codes(query, codes, **arguments)  # type: ignore[arg-type]


def test_a_query_of_another_dim_and_a_bad_k_or_mask_are_refused() -> None:
    rng = np.random.default_rng(5)
    codes = draw_codes(rng, 128, (4,), [2, 3])
    query = draw_query(rng, 4, 128)
    with pytest.raises(KernelInputError, match="padded dim 64, the codes have 128"):
        kernels.score_codes(draw_query(rng, 4, 64), codes)
    with pytest.raises(KernelInputError, match="k must be at least 1, not 0"):
        kernels.top_k(query, codes, 0)
    with pytest.raises(KernelInputError, match="bool array of 2 documents"):
        kernels.top_k(query, codes, 1, live=np.ones(3, bool))
    with pytest.raises(KernelInputError, match=r"documents 0\.\.1"):
        kernels.top_k(query, codes, 1, live=np.ones(2, bool), ordinals=np.array([7]))
    with pytest.raises(KernelInputError, match=r"outside 0\.\.1"):
        kernels.align(query, codes, 2)


@pytest.mark.parametrize("bits", [0x7C00, 0x7E00])
def test_a_width_that_is_not_finite_is_an_error_and_no_score(bits: int) -> None:
    rng = np.random.default_rng(6)
    codes = draw_codes(rng, 128, (4,), [2, 3, 0])
    codes.widths[0][3] = bits
    query = QuantizedQuery(np.full((2, 128), 5, np.int8), np.ones(2, np.float32))
    codes.planes[0][:] = 255
    if bits == 0x7C00:
        with pytest.raises(KernelInputError, match="document 1 of those scored"):
            kernels.score_codes(query, codes)
    else:
        # NaN loses every comparison: the document is scored by its other tokens, or not at all.
        codes.widths[0][2:] = bits
        with pytest.raises(KernelInputError, match="document 1 of those scored"):
            kernels.score_codes(query, codes)


@settings(max_examples=30, deadline=None)
@given(
    dim=dims,
    plane_bits=st.sampled_from(PLANE_BITS),
    doclens=ragged,
    n_query_tokens=counts,
    seed=st.integers(0, 2**32 - 1),
)
def test_token_maxima_equal_the_reference_to_the_bit(
    dim: int, plane_bits: tuple[int, ...], doclens: list[int], n_query_tokens: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = draw_codes(rng, dim, plane_bits, doclens)
    query = draw_query(rng, n_query_tokens, codes.padded_dim)
    for n_planes in range(1, len(plane_bits) + 1):
        expected = reference.token_maxima(query, codes, n_planes=n_planes)
        np.testing.assert_array_equal(kernels.token_maxima(query, codes, n_planes=n_planes), expected)
        ordinals = rng.integers(0, max(codes.n_docs, 1), 2 * codes.n_docs)
        scattered = kernels.token_maxima(query, codes, ordinals=ordinals, n_planes=n_planes, n_threads=3)
        np.testing.assert_array_equal(scattered, expected[ordinals])


@settings(max_examples=40, deadline=None)
@given(
    dim=dims,
    plane_bits=st.sampled_from(PLANE_BITS),
    segments=st.lists(ragged, min_size=1, max_size=4),
    n_query_tokens=counts,
    seed=st.integers(0, 2**32 - 1),
)
def test_documents_of_several_segments_score_as_in_their_own(
    dim: int, plane_bits: tuple[int, ...], segments: list[list[int]], n_query_tokens: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    parts = [draw_codes(rng, dim, plane_bits, doclens) for doclens in segments]
    query = draw_query(rng, n_query_tokens, parts[0].padded_dim)
    documents = kernels.Scattered(parts)
    for n_planes in range(1, len(plane_bits) + 1):
        expected = np.concatenate([kernels.score_codes(query, part, n_planes=n_planes) for part in parts])
        numbers = rng.integers(0, max(documents.n_docs, 1), 2 * documents.n_docs)
        scorer = kernels.ScatteredScorer(query, documents, n_planes=n_planes)
        np.testing.assert_array_equal(scorer.score(numbers, n_threads=2), expected[numbers])
    with pytest.raises(KernelInputError):
        kernels.ScatteredScorer(query, documents).score(np.array([documents.n_docs]))
