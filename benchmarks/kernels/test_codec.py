"""pytest-benchmark: `pytest benchmarks/ --benchmark-only`."""

import time
from typing import Any

import numpy as np
import pytest

from benchmarks.kernels.cases import Case, draw
from colsearch.codec.rotated import RotatedCodec
from colsearch_kernels.layout.codes import PLANE_BITS

# CPU time, because other processes may be running.
pytestmark = pytest.mark.benchmark(timer=time.process_time)
DATA = draw(Case("codec", n_docs=200, doclen=50), seed=0)


@pytest.mark.parametrize("planes", PLANE_BITS, ids=str)
def test_encode_10_000_tokens(benchmark: Any, planes: tuple[int, ...]) -> None:
    codec = RotatedCodec(DATA.vectors.shape[1], planes)
    codec.encode(DATA.vectors[:1])
    encoded = benchmark(codec.encode, DATA.vectors)
    decoded = codec.decode(encoded)
    # The timed result must also be right: decoded vectors are unbiased.
    np.testing.assert_allclose((decoded * DATA.vectors).sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("planes", [(4, 4)], ids=str)
def test_decode_10_000_tokens(benchmark: Any, planes: tuple[int, ...]) -> None:
    codec = RotatedCodec(DATA.vectors.shape[1], planes)
    encoded = codec.encode(DATA.vectors)
    decoded = benchmark(codec.decode, encoded)
    np.testing.assert_allclose(decoded, DATA.vectors, atol=2e-2)


def test_prepare_a_query_of_32_tokens(benchmark: Any) -> None:
    codec = RotatedCodec(DATA.vectors.shape[1], (4, 4))
    codec.prepare_query(DATA.query)
    query = benchmark(codec.prepare_query, DATA.query)
    np.testing.assert_allclose(np.abs(query.values).max(axis=1), 63)
