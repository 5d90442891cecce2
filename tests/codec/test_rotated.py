"""The codec: decoded vectors are near, scores are estimates of theirs, and bad input is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colsearch.codec.rotated import RotatedCodec
from colsearch.errors import ConfigError, ShapeError, VectorError
from colsearch_kernels import reference
from colsearch_kernels.layout.codes import PLANE_BITS, Codes


def unit_vectors(n: int, dim: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_another_seed_is_another_code() -> None:
    vectors = unit_vectors(4, 32)
    first, second = (RotatedCodec(32, (4,), seed).encode(vectors).planes[0] for seed in (1, 2))
    assert (first != second).mean() > 0.8


# Slightly below the lowest cosine of 300 Gaussian tokens with their decoded vectors. A code of half the bits
# has a mean cosine below the figure.
LOWEST_COSINE = {
    (8,): 0.9999,
    (4,): 0.965,
    (2,): 0.88,
    (1,): 0.70,
    (4, 4): 0.9999,
    (2, 6): 0.975,
}


@pytest.mark.parametrize("planes", LOWEST_COSINE)
def test_decoded_vectors_are_as_near_as_their_bits_allow(planes: tuple[int, ...]) -> None:
    vectors = unit_vectors(300, 128)
    codec = RotatedCodec(128, planes)
    decoded = codec.decode(codec.encode(vectors))
    cosines = (decoded * vectors).sum(axis=1) / np.linalg.norm(decoded, axis=1)
    assert cosines.min() > LOWEST_COSINE[planes]


@settings(max_examples=25, deadline=None)
@given(dim=st.integers(1, 400), planes=st.sampled_from(PLANE_BITS), seed=st.integers(0, 2**31))
def test_scores_over_codes_estimate_those_over_the_decoded_vectors(
    dim: int, planes: tuple[int, ...], seed: int
) -> None:
    codec = RotatedCodec(dim, planes)
    vectors, query = unit_vectors(7, dim, seed), unit_vectors(3, dim, seed + 1)
    encoded = codec.encode(vectors)
    codes = Codes(dim, planes, encoded.planes, encoded.widths, np.array([0, 1, 1, 7], np.int64))
    for n_planes in range(1, len(planes) + 1):
        scores = reference.score_codes(codec.prepare_query(query), codes, n_planes=n_planes)
        expected = reference.maxsim(query, codec.decode(encoded, n_planes), codes.doclens)
        # A query value is off by at most half of max|q| / 63, so by 1 / 126 in each dim. Decoded rows have
        # norms up to 1.5.
        bound = 3 * 1.5 * np.sqrt(codes.padded_dim) / 126
        np.testing.assert_allclose(scores[[0, 2]], expected[[0, 2]], atol=bound)
        assert scores[1] == -np.inf


@pytest.mark.parametrize(
    ("planes", "n_bytes"),
    [((8,), [130]), ((4,), [66]), ((2,), [34]), ((1,), [18]), ((4, 4), [66, 66]), ((2, 6), [34, 98])],
)
def test_a_token_takes_the_bits_of_its_planes_and_two_bytes_for_each_width(
    planes: tuple[int, ...], n_bytes: list[int]
) -> None:
    encoded = RotatedCodec(128, planes).encode(unit_vectors(1, 128))
    assert [plane.nbytes + width.nbytes for plane, width in zip(encoded.planes, encoded.widths)] == n_bytes


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (np.full(8, np.nan), "token vector 2 holds NaN"),
        ([np.inf, *[1.0] * 7], "token vector 2 holds NaN"),
        (np.zeros(8), "token vector 2 is all zeros"),
        (np.full(8, 1e30), "token vector 2 has norm"),
        (np.full(8, 1e-9), "token vector 2 has norm"),
        (np.full(8, 1e6), "token vector 2 has norm"),
    ],
)
@pytest.mark.parametrize("planes", PLANE_BITS)
def test_a_vector_that_cannot_be_coded_is_named(row: Any, message: str, planes: tuple[int, ...]) -> None:
    vectors = unit_vectors(4, 8)
    vectors[2] = row
    with pytest.raises(VectorError, match=message):
        RotatedCodec(8, planes).encode(vectors)


@pytest.mark.parametrize("norm", [0.002, 20_000])
@pytest.mark.parametrize("planes", PLANE_BITS)
def test_norms_far_from_one_keep_their_precision(norm: float, planes: tuple[int, ...]) -> None:
    vectors = unit_vectors(5, 64)
    codec = RotatedCodec(64, planes)
    near = codec.decode(codec.encode(vectors))
    far = codec.decode(codec.encode((vectors * np.float32(norm)).astype(np.float32))) / norm
    np.testing.assert_allclose(far, near, atol=0.03)


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((2, 9), np.float32),
        np.ones(8, np.float32),
        np.ones((2, 8)),
        np.ones((2, 8), ">f4"),
        [[1.0] * 8],
    ],
)
def test_arrays_of_another_kind_are_refused(vectors: Any) -> None:
    codec = RotatedCodec(8)
    with pytest.raises(ShapeError, match="token vectors"):
        codec.encode(vectors)
    with pytest.raises(ShapeError, match="token vectors"):
        codec.prepare_query(vectors)


@pytest.mark.parametrize("query", [np.empty((0, 8), np.float32), np.full((1, 8), np.nan, np.float32)])
def test_a_query_that_cannot_be_scored_is_refused(query: np.ndarray) -> None:
    codec = RotatedCodec(8)
    with pytest.raises(VectorError, match=r"no tokens|NaN"):
        codec.prepare_query(query)


def test_strided_and_read_only_vectors_have_the_same_code() -> None:
    vectors = unit_vectors(6, 40)
    codec = RotatedCodec(40)
    wide = np.repeat(vectors, 2, axis=1)
    wide.setflags(write=False)
    np.testing.assert_array_equal(codec.encode(wide[:, ::2]).planes[0], codec.encode(vectors).planes[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: RotatedCodec(0),
        lambda: RotatedCodec(128, (3,)),
        lambda: RotatedCodec(128, (16,)),
        lambda: RotatedCodec(128, (4,), -1),
        lambda: RotatedCodec(1.5),  # type: ignore[arg-type]
    ],
)
def test_settings_that_cannot_work_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError, match="must be"):
        make()
