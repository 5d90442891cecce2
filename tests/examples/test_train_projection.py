"""The script that makes the shipped projection runs, and what it makes ranks like the teacher."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from colsearch.encoders.embedded import EmbeddedEncoder
from colsearch.encoders.projection import load_projection
from colsearch.types import TokenVectors
from examples import train_projection
from examples.train_projection import Ragged, Training, distil, principal_directions

SCRIPT = Path(train_projection.__file__)


def test_the_script_writes_a_projection_that_the_encoder_takes(tmp_path, monkeypatch):
    out = tmp_path / "projection.safetensors"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--out", str(out), "--limit", "12", "--steps", "2"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    projection = load_projection(out)
    assert projection.matrix.shape == (384, 320)
    assert EmbeddedEncoder(projection).encode_query(["a query"]).vectors.shape == (4, 320)


def _random_texts(n: int, seed: int) -> Ragged:
    """Unit states near a 40-dimensional subspace, so that 64 columns could do without error."""
    generator = np.random.default_rng(seed)
    doclens = generator.integers(2, 9, n)
    basis = np.random.default_rng(0).standard_normal((40, 384))
    states = generator.standard_normal((doclens.sum(), 40)) @ basis
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    return Ragged(TokenVectors(states.astype(np.float32), doclens))


def test_principal_directions_span_what_the_states_span():
    states = _random_texts(40, 1).states
    directions = principal_directions(states)
    torch.testing.assert_close(directions.T @ directions, torch.eye(384), atol=1e-5, rtol=0)
    inside = states @ directions[:, :40]
    torch.testing.assert_close(inside.square().sum(1), torch.ones(len(states)), atol=1e-4, rtol=0)


def test_distillation_lowers_the_error_of_a_bad_start():
    queries, documents = _random_texts(30, 2), _random_texts(30, 3)
    bad = torch.randn(384, 320, generator=torch.Generator().manual_seed(0)) / 16
    everyone = torch.arange(30)
    scales = torch.ones(len(train_projection.WIDTHS))

    def error(matrix: torch.Tensor) -> float:
        taken = queries.take(everyone), documents.take(everyone)
        return float(train_projection._loss(matrix, scales, *taken, n_texts=30))

    learnt = distil(queries, documents, bad, Training(steps=60, batch_texts=16, learning_rate=3e-3))
    assert error(learnt) < 0.7 * error(bad)
    assert error(principal_directions(documents.states)[:, :320]) == pytest.approx(0, abs=1e-2)
