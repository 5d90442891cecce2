"""Checks of a checkpoint's files before anything is loaded from them.

sentence-transformers 6 loads checkpoints that we refuse:
- A plain BERT or a single-vector model gets a random projection, another one at every load. Only an info
  log says so.
- A module folder without safetensors falls back to a pickle, which can run any code.
- Classes named in `modules.json` are imported.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from colsearch.errors import EncoderError

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_OWN_CODE = ("sentence_transformers.", "pylate.models.Dense.Dense")
_MULTI_VECTOR = ("MultiVectorEncoder", "ColBERT")
# Earlier versions of PyLate saved no model_type; no other library uses these keys.
_PYLATE_KEYS = ("query_prefix", "document_prefix", "query_length", "document_length")
# The settings of a tokenizer with thousands of added tokens take one or two MiB.
_MAX_JSON_BYTES = 8 << 20
_DOWNLOADED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.metadata"]


@dataclass(frozen=True, slots=True)
class Module:
    """One stage of the model, such as a Transformer, a Dense projection or a mask.

    Attributes:
        kind: name of its class, such as "Dense".
        reference: the class with its package, as in modules.json.
        folder: holds its settings and weights.
    """

    kind: str
    reference: str
    folder: Path


def find_checkpoint(spec: str | Path, *, revision: str | None, trust_remote_code: bool) -> Path:
    """The folder itself, or the local copy of a Hub repository; a repository's pickles are never downloaded.

    Raises: EncoderError: if there is no such folder or repository, or the Hub cannot be reached.
    """
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(spec, Path) or folder.exists() or str(spec).count("/") > 1:
        raise EncoderError(f"{spec} is not a folder with a checkpoint")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [*_DOWNLOADED, "*.py"] if trust_remote_code else _DOWNLOADED
    try:
        return Path(snapshot_download(str(spec), revision=revision, allow_patterns=wanted))
    except HFValidationError as error:
        raise EncoderError(f"{spec!r} is neither a folder nor a name on the Hugging Face Hub") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise EncoderError(
            f"no folder {spec!r}, and the Hub has no such repository or cannot be reached; give the folder "
            "of a downloaded checkpoint"
        ) from error


def check_checkpoint(folder: Path, *, trust_remote_code: bool) -> None:
    """Refuse a checkpoint that would get random weights, or run code that nobody asked for.

    Raises: EncoderError: naming the file, and what to do.
    """
    modules = list(_modules(folder))
    for checked in _folders(folder, modules):
        _check_plain(checked)
        _check_no_pickle(checked)
    if not trust_remote_code:
        _check_no_foreign_code(folder, modules)
    _check_weights(folder, modules)
    _check_is_multi_vector(folder, modules)


def _modules(folder: Path) -> Iterator[Module]:
    for entry in _read_json(folder / "modules.json", list) or []:
        if not isinstance(entry, dict) or not {"type", "path"} <= entry.keys():
            raise EncoderError(f"{folder / 'modules.json'} lists {entry!r:.80}, which is no module")
        reference, path = str(entry["type"]), PurePosixPath(str(entry["path"]))
        if path.is_absolute() or ".." in path.parts:
            raise EncoderError(f"{folder / 'modules.json'} points outside its folder, to {path}")
        yield Module(reference.rsplit(".", 1)[-1], reference, folder / path)


def _folders(folder: Path, modules: list[Module]) -> list[Path]:
    """The checkpoint's folder and those of its modules, each once."""
    return list(dict.fromkeys([folder, *(module.folder for module in modules)]))


def _check_plain(folder: Path) -> None:
    """Refuse pipes and devices, on which loading would hang; links are fine, the Hub's cache has them."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise EncoderError(f"{folder} is not a folder")
    odd = [path for path in folder.iterdir() if path.exists() and not (path.is_file() or path.is_dir())]
    odd += [path for path in folder.glob("*.safetensors") if not path.is_file()]
    if odd:
        raise EncoderError(f"{odd[0]} is not a plain file")


def _check_no_pickle(folder: Path) -> None:
    """Refuse a pickle that would be loaded; a pickle beside safetensors is never read."""
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise EncoderError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), which can run any code when loaded; "
            "convert it to model.safetensors (https://huggingface.co/spaces/safetensors/convert) or take "
            "another revision"
        )


def _check_no_foreign_code(folder: Path, modules: list[Module]) -> None:
    for module in modules:
        if not module.reference.startswith(_OWN_CODE):
            raise _foreign_code_error(folder, f"modules.json names the class {module.reference}")
    for checked in _folders(folder, modules):
        for name in ("config.json", "tokenizer_config.json"):
            if (_read_json(checked / name) or {}).get("auto_map"):
                raise _foreign_code_error(folder, f"{checked / name} has an auto_map")


def _foreign_code_error(folder: Path, reason: str) -> EncoderError:
    return EncoderError(
        f"{folder} wants to run code of its own ({reason}); if you trust it, load it by "
        "SentenceTransformerEncoder(..., trust_remote_code=True)"
    )


def _check_weights(folder: Path, modules: list[Module]) -> None:
    """Refuse a Transformer or Dense folder without safetensors, where pickles would be looked for."""
    with_weights = [module.folder for module in modules if module.kind in ("Transformer", "Dense")]
    for checked in with_weights or [folder]:
        files = list(checked.glob("*.safetensors"))
        if not files:
            raise EncoderError(
                f"{checked} has no *.safetensors: either it is no checkpoint, or its weights are a pickle, "
                "which is not loaded; convert them to model.safetensors"
            )
        for file in files:
            _tensor_names(file)


def _check_is_multi_vector(folder: Path, modules: list[Module]) -> None:
    """Refuse a checkpoint without a token projection, which sentence-transformers would add at random."""
    if modules:
        _check_modules_project(folder, modules)
    else:
        _check_architecture_projects(folder)


def _check_architecture_projects(folder: Path) -> None:
    """Check a checkpoint without modules.json: its architecture says whether it has a projection."""
    architectures = (_read_json(folder / "config.json") or {}).get("architectures") or []
    if "HF_ColBERT" in architectures:
        _check_stanford_projection(folder)
    elif not any(str(name).endswith("ForRetrieval") for name in architectures):
        raise _no_projection_error(folder, f"architecture {architectures or 'unknown'}")


def _check_modules_project(folder: Path, modules: list[Module]) -> None:
    """Check a checkpoint of sentence-transformers or PyLate: its settings name the kind of model."""
    settings = _read_json(folder / "config_sentence_transformers.json") or {}
    kind = settings.get("model_type")
    if kind is None and any(key in settings for key in _PYLATE_KEYS):
        kind = "ColBERT"
    if kind not in _MULTI_VECTOR:
        raise _no_projection_error(folder, f"a {kind or 'SentenceTransformer'}")
    if kind == "ColBERT" and not any(module.kind == "Dense" for module in modules):
        raise _no_projection_error(folder, "a ColBERT checkpoint without its Dense module")


def _check_stanford_projection(folder: Path) -> None:
    path = folder / "model.safetensors"
    if not path.exists() or "linear.weight" not in _tensor_names(path):
        raise _no_projection_error(
            folder, "an HF_ColBERT checkpoint whose model.safetensors lacks linear.weight"
        )


def _tensor_names(path: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as weights:
            return list(weights.keys())
    except (SafetensorError, OSError) as error:
        raise EncoderError(f"{path} is no safetensors file, or a damaged one: {error}") from None


def _no_projection_error(folder: Path, kind: str) -> EncoderError:
    return EncoderError(
        f"{folder} is no late-interaction checkpoint ({kind}): its token projection would be random, another "
        "one at every load; take a ColBERT, PyLate or MultiVectorEncoder checkpoint, or encoder=None for the "
        "embedded one"
    )


def _read_json(path: Path, kind: type = dict) -> Any:
    """Parsed JSON, or None if there is no such file."""
    if not os.path.lexists(path):
        return None
    if not path.is_file() or path.stat().st_size > _MAX_JSON_BYTES:
        raise EncoderError(f"{path} is not a plain file of at most {_MAX_JSON_BYTES >> 20} MiB")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise EncoderError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise EncoderError(f"{path} holds a {type(value).__name__}, not a {kind.__name__}")
    return value
