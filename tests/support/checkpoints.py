"""Tiny random checkpoints in the three formats, as their own tools write them, and an independent loader."""

import json
import string
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, BertTokenizerFast

HIDDEN, DIM, MAX_DOCUMENT, MAX_QUERY = 32, 16, 24, 12
WORDS = [
    "the",
    "a",
    "red",
    "fox",
    "cafe",
    "zurich",
    "naive",
    "jump",
    "##s",
    "##ing",
    "over",
    "lazy",
    "dog",
    "2",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
]


def write_backbone(folder: Path, *, seed: int = 0, architecture: str = "BertModel") -> BertModel:
    """Write config.json, model.safetensors and a tokenizer; the seed fixes the random weights."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    model = BertModel(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "architectures": [architecture]}))
    return model


def write_stanford(folder: Path) -> Path:
    """Write what `colbert` saves: BERT and `linear.weight` in one safetensors, and artifact.metadata."""
    model = write_backbone(folder, architecture="HF_ColBERT")
    weights = {f"bert.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file({**weights, "linear.weight": random_matrix(1)}, folder / "model.safetensors", {"format": "pt"})
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": MAX_QUERY,
        "doc_maxlen": MAX_DOCUMENT,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    return folder


def write_pylate(folder: Path) -> Path:
    """Write what PyLate 1 saves: modules.json with Transformer and Dense, and prefixes in the settings."""
    write_backbone(folder, seed=2)
    dense = folder / "1_Dense"
    dense.mkdir()
    save_file({"linear.weight": random_matrix(3)}, dense / "model.safetensors")
    activation = "torch.nn.modules.linear.Identity"
    shape = {"in_features": HIDDEN, "out_features": DIM, "bias": False, "activation_function": activation}
    (dense / "config.json").write_text(json.dumps(shape))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": MAX_DOCUMENT, "do_lower_case": False})
    )
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    settings = {
        "model_type": "ColBERT",
        "query_prefix": "[unused0]",
        "document_prefix": "[unused1]",
        "query_length": MAX_QUERY,
        "document_length": MAX_DOCUMENT,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
        "prompts": {},
    }
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder


def write_native(folder: Path) -> Path:
    """Write by MultiVectorEncoder.save: prompts that are text, no expansion, no skiplist."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    write_backbone(folder / "backbone", seed=4)
    dense = Dense(
        HIDDEN,
        DIM,
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=random_matrix(5),
        module_input_name="token_embeddings",
    )
    transformer = Transformer(str(folder / "backbone"), document_length=MAX_DOCUMENT)
    model = MultiVectorEncoder(
        modules=[transformer, dense, MultiVectorMask(), Normalize(module_input_name="token_embeddings")],
        prompts={"query": "one two ", "document": "the "},
        device="cpu",
    )
    model.save(str(folder / "saved"))
    return folder / "saved"


def random_matrix(seed: int) -> torch.Tensor:
    return torch.randn(DIM, HIDDEN, generator=torch.Generator().manual_seed(seed))


def encode_plainly(folder: Path, text: str, *, query: bool) -> NDArray[np.float32]:
    """Vectors of one text by plain transformers and safetensors; only expansion pads it."""
    stanford, native = (folder / "artifact.metadata").exists(), (folder / "2_MultiVectorMask").exists()
    weights = load_file(folder / "model.safetensors")
    model = BertModel(BertConfig.from_json_file(folder / "config.json"), add_pooling_layer=False).eval()
    bare = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    assert not model.load_state_dict(bare, strict=False).missing_keys
    linear = (weights if stanford else load_file(folder / "1_Dense" / "model.safetensors"))["linear.weight"]
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    if native:
        prefixed, limit = ("one two " + text, 64) if query else ("the " + text, MAX_DOCUMENT)
        ids = tokenizer(prefixed, truncation=True, max_length=limit)["input_ids"]
    else:
        room = (MAX_QUERY if query else MAX_DOCUMENT) - 1
        ids = tokenizer(text, truncation=True, max_length=room)["input_ids"]
        ids.insert(1, tokenizer.convert_tokens_to_ids("[unused0]" if query else "[unused1]"))
    n_real = len(ids)
    if query and not native:
        ids = ids + [tokenizer.mask_token_id] * (MAX_QUERY - n_real)
    attended = (torch.arange(len(ids)) < n_real).long()[None]
    with torch.inference_mode():
        states = model(torch.tensor([ids]), attention_mask=attended).last_hidden_state[0]
        vectors = torch.nn.functional.normalize(states @ linear.T, dim=-1)
    skipped = set() if native or query else set(tokenizer.convert_tokens_to_ids(list(string.punctuation)))
    return vectors[[token not in skipped or token == tokenizer.unk_token_id for token in ids]].numpy()


def _tokenizer() -> BertTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
    letters = [f"{mark}{letter}" for letter in string.ascii_lowercase for mark in ("", "##")]
    entries = list(dict.fromkeys([*special, *WORDS, *string.punctuation, *letters]))
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(entry, vocabulary[entry]) for entry in ("[SEP]", "[CLS]")]
    backend.post_processor = processors.BertProcessing(*ends)
    return BertTokenizerFast(tokenizer_object=backend, vocab=vocabulary, model_max_length=64)
