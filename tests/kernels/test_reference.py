"""The reference against numbers worked out by hand, and its packing against the layout as written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colsearch_kernels import reference
from colsearch_kernels.errors import KernelInputError
from colsearch_kernels.layout.codes import PLANE_BITS, Codes, QuantizedQuery, padded_dim


def make_codes(
    rng: np.random.Generator, dim: int, plane_bits: tuple[int, ...], doclens: list[int]
) -> tuple[Codes, np.ndarray]:
    """Codes of random integers, and the integers."""
    n_tokens = sum(doclens)
    values = rng.integers(0, 2 ** sum(plane_bits), (n_tokens, padded_dim(dim, plane_bits)), dtype=np.uint8)
    widths = tuple(rng.uniform(0.1, 1, n_tokens).astype(np.float16).view(np.uint16) for _ in plane_bits)
    offsets = np.concatenate([[0], np.cumsum(doclens)]).astype(np.int64)
    return Codes(dim, plane_bits, reference.pack(values, plane_bits), widths, offsets), values


@given(
    dim=st.integers(1, 400),
    plane_bits=st.sampled_from(PLANE_BITS),
    n_tokens=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_unpack_inverts_pack(dim: int, plane_bits: tuple[int, ...], n_tokens: int, seed: int) -> None:
    shape = (n_tokens, padded_dim(dim, plane_bits))
    values = np.random.default_rng(seed).integers(0, 2 ** sum(plane_bits), shape, dtype=np.uint8)
    planes = reference.pack(values, plane_bits)
    unpacked, bits = reference.unpack(planes, plane_bits)
    assert bits == sum(plane_bits)
    np.testing.assert_array_equal(unpacked, values)
    assert sum(plane.shape[1] for plane in planes) * 8 == shape[1] * sum(plane_bits)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_plane_holds_each_dim_where_the_layout_says(bits: int) -> None:
    per_word = 32 // bits
    n_dims = 3 * per_word
    for dim in range(n_dims):
        values = np.zeros((1, n_dims), np.uint8)
        values[0, dim] = 1
        word = int.from_bytes(
            reference.pack_plane(values, bits)[0, 4 * (dim // per_word) :][:4].tobytes(), "little"
        )
        shift, byte = divmod(dim % per_word, 4)
        assert word == 1 << (8 * byte + bits * shift)


def test_a_score_worked_out_by_hand() -> None:
    # 2 bits, u = 0..3 stands for (u - 1.5) / 4 * width: -3/8, -1/8, 1/8, 3/8 of the width.
    values = np.zeros((3, 16), np.uint8)
    values[0, :2] = [3, 0]
    values[1, :2] = [0, 3]
    values[2, :2] = [1, 1]
    values[:, 2:] = 2
    codes = Codes(
        2,
        (2,),
        (reference.pack_plane(values, 2),),
        (np.array([8, 8, 16], np.float16).view(np.uint16),),
        np.array([0, 2, 2, 3], np.int64),
    )
    query_values = np.zeros((2, 16), np.int8)
    query_values[0, 0], query_values[1, 1] = 63, -10
    query = QuantizedQuery(query_values, np.array([1, 0.5], np.float32))
    # Document 0: max(63 * 3, 63 * -3) + .5 * max(-10 * -3, -10 * 3); document 2: 63 * -2 + .5 * -10 * -2.
    expected = np.array([189 + 15, -np.inf, -126 + 10], np.float32)
    np.testing.assert_array_equal(reference.score_codes(query, codes), expected)
    ordinals, scores = reference.top_k(query, codes, 5)
    np.testing.assert_array_equal(ordinals, [0, 2])
    np.testing.assert_array_equal(scores, expected[[0, 2]])
    tokens, shares = reference.align(query, codes, 0)
    np.testing.assert_array_equal(tokens, [0, 0])
    np.testing.assert_array_equal(shares, [189, 15])
    assert reference.align(query, codes, 1)[0].tolist() == [-1, -1]


@pytest.mark.parametrize("plane_bits", PLANE_BITS)
def test_integer_scores_agree_with_the_decoded_vectors(plane_bits: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    codes, _ = make_codes(rng, 37, plane_bits, [3, 0, 1, 5])
    query = reference.quantize_query(rng.standard_normal((4, codes.padded_dim), np.float32))
    floats = query.values.astype(np.float32) * query.scales[:, None]
    for n_planes in range(1, len(plane_bits) + 1):
        expected = reference.maxsim(floats, reference.decode(codes, n_planes), codes.doclens)
        found = reference.score_codes(query, codes, n_planes=n_planes)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_equal_scores_are_ordered_by_ordinal_and_dead_documents_are_left_out() -> None:
    rng = np.random.default_rng(5)
    one, _ = make_codes(rng, 8, (4,), [2])
    twice = [np.concatenate([array] * 3) for array in (one.planes[0], one.widths[0])]
    codes = Codes(8, (4,), (twice[0],), (twice[1],), np.array([0, 2, 4, 6], np.int64))
    query = reference.quantize_query(rng.standard_normal((3, 8), np.float32))
    live = np.array([True, False, True])
    ordinals, scores = reference.top_k(query, codes, 3, ordinals=np.array([2, 1, 0]), live=live)
    assert ordinals.tolist() == [0, 2] and scores[0] == scores[1]


def test_a_query_token_of_zeros_has_scale_zero_and_scores_nothing() -> None:
    rotated = np.array([[0, 0, 0, 0], [1.25, -2, 0.5, 0]], np.float32)
    query = reference.quantize_query(rotated)
    np.testing.assert_array_equal(query.values, [[0, 0, 0, 0], [39, -63, 16, 0]])
    np.testing.assert_array_equal(query.scales, np.array([0, 2 / 63], np.float32))


def good_parts() -> dict[str, object]:
    rng = np.random.default_rng(0)
    codes, _ = make_codes(rng, 5, (4, 4), [2, 1])
    return {name: getattr(codes, name) for name in ("dim", "plane_bits", "planes", "widths", "offsets")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plane_bits": (3,)}, "planes must be one of"),
        ({"plane_bits": (4,)}, "planes named"),
        ({"dim": 9}, "need shape"),
        ({"dim": 0}, "dim must be"),
        ({"offsets": np.array([0, 2, 4], np.int64)}, "need shape"),
        ({"offsets": np.array([0, 4, 3], np.int64)}, "never decrease"),
        ({"offsets": np.array([1, 2, 3], np.int64)}, "start with 0"),
        ({"offsets": np.array([0, 2, 3], np.int32)}, "int64"),
        ({"offsets": np.array([0, 2, 3], ">i8")}, "int64"),
        ({"offsets": np.zeros(0, np.int64)}, "n_docs \\+ 1"),
        ({"planes": (np.zeros((3, 8), np.uint8)[:, ::2], np.zeros((3, 4), np.uint8))}, "C-contiguous"),
        ({"planes": (np.zeros((3, 4), np.int8), np.zeros((3, 4), np.uint8))}, "uint8"),
        ({"widths": (np.zeros(3, np.float16), np.zeros(3, np.uint16))}, "uint16"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(KernelInputError, match=message):
        Codes(**{**good_parts(), **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [np.inf, np.nan, -1])
def test_widths_that_cannot_be_are_found(width: float) -> None:
    parts = good_parts()
    bad = np.array([1, width, 1], np.float16).view(np.uint16)
    with pytest.raises(KernelInputError, match="token 1"):
        Codes(**{**parts, "widths": (bad, bad)}).check_widths()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "scales", "message"),
    [
        (np.zeros((0, 4), np.int8), np.zeros(0, np.float32), "n_query_tokens"),
        (np.zeros(4, np.int8), np.zeros(1, np.float32), "n_query_tokens"),
        (np.full((1, 4), 64, np.int8), np.ones(1, np.float32), "within"),
        (np.zeros((1, 4), np.int8), np.array([np.nan], np.float32), "finite"),
        (np.zeros((1, 4), np.int16), np.ones(1, np.float32), "int8"),
    ],
)
def test_queries_that_do_not_fit_are_refused(values: np.ndarray, scales: np.ndarray, message: str) -> None:
    with pytest.raises(KernelInputError, match=message):
        QuantizedQuery(values, scales)


def test_n_planes_beyond_the_codes_is_refused() -> None:
    codes = Codes(**good_parts())  # type: ignore[arg-type]
    query = reference.quantize_query(np.ones((1, 8), np.float32))
    with pytest.raises(KernelInputError, match=r"n_planes must be 1\.\.2"):
        reference.score_codes(query, codes, n_planes=3)
