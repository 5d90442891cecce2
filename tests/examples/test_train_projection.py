"""The script that makes the shipped projection runs, and finds the principal directions."""

import runpy
import sys

import numpy as np

from colsearch.encoders.embedded import EmbeddedEncoder
from colsearch.encoders.projection import load_projection
from examples import train_projection
from examples.train_projection import principal_directions, read_pairs, token_states


def test_the_script_writes_a_projection_that_the_encoder_takes(tmp_path, monkeypatch):
    script, out = train_projection.__file__, tmp_path / "projection.safetensors"
    monkeypatch.setattr(sys, "argv", [script, "--out", str(out), "--limit", "40", "--dim", "100"])
    runpy.run_path(script, run_name="__main__")
    projection = load_projection(out)
    assert projection.matrix.shape == (384, 100)
    assert EmbeddedEncoder(projection).encode_query(["a query"]).vectors.shape == (4, 100)
    # No other 100 directions keep more of the energy of the tokens that it was made from.
    states = token_states(*read_pairs(train_projection.PAIRS, 40))
    singular = np.linalg.svd(states, compute_uv=False)
    kept = np.square(states @ projection.matrix).sum()
    np.testing.assert_allclose(kept, np.square(singular[:100]).sum(), rtol=1e-3)


def test_principal_directions_come_in_order():
    generator = np.random.default_rng(0)
    states = (generator.standard_normal((3000, 384)) * np.linspace(1, 3, 384)).astype(np.float32)
    directions = principal_directions(states)
    np.testing.assert_allclose(directions.T @ directions, np.eye(384), atol=1e-10)
    energy = np.square(states @ directions).sum(axis=0)
    assert (np.diff(energy) <= 0).all()


def test_the_shipped_projection_is_orthonormal():
    projection = load_projection()
    np.testing.assert_allclose(projection.matrix.T @ projection.matrix, np.eye(projection.dim), atol=2e-3)
    assert projection.matrix.shape == (384, train_projection.DIM)
