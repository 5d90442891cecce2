"""MTEB: run whole retrieval tasks on a `ColIndex`, with the Hub's data or, offline, with your own.

    import mteb
    from colsearch.integrations.mteb import ColIndexSearch, retrieval_task

    task = retrieval_task("my-collection", documents, queries, qrels)      # or mteb.get_task("SciFact")
    mteb.evaluate(ColIndexSearch("scratch_folder"), tasks=[task])

Needs `pip install "colindex[mteb]"`. `mteb` is imported only when it is used.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colsearch.errors import ConfigError
from colsearch.index import ColIndex


class ColIndexSearch:
    """MTEB's `SearchProtocol`: builds an index of the corpus once, and answers all queries from it.

    Args:
        folder: holds one index per task, subset and split; an index that is already there is replaced.
        encoder: as for `ColIndex.create`.
        search: options of `ColIndex.search`, such as {"recall": 0.99} or {"exact": True}.
    """

    def __init__(
        self, folder: str | Path, encoder: object = None, *, search: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.encoder = encoder
        self.options = dict(search or {})
        self.opened: ColIndex | None = None

    def index(self, corpus: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, **_: Any) -> None:
        """Build an index of `corpus`, whose rows have "id", "text" and perhaps "title"."""
        if self.opened is not None:
            self.opened.close()
        path = self.folder / f"{task_metadata.name}-{hf_subset}-{hf_split}"
        shutil.rmtree(path, ignore_errors=True)
        self.opened = ColIndex.create(path, encoder=self.encoder)
        self.opened.add(
            (_text(row) for row in corpus), ids=(str(document_id) for document_id in corpus["id"])
        )

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, list[str]] | None = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        """Query id -> document id -> score; with `top_ranked`, only the documents it lists are scored."""
        if self.opened is None:
            raise ConfigError("MTEB asked for a search before it gave a corpus; call `index` first")
        run: dict[str, dict[str, float]] = {}
        for query_id, text in zip(queries["id"], queries["text"]):
            if top_ranked is None:
                hits = self.opened.search(text, k=top_k, **self.options)
            else:
                hits = self.opened.rerank(text, top_ranked[query_id], k=top_k)
            run[str(query_id)] = {str(hit.id): hit.score for hit in hits}
        return run

    @property
    def mteb_model_meta(self) -> Any:
        from mteb.models import ModelMeta

        name = "colsearch/default" if self.encoder is None else f"colsearch/{_last_part(self.encoder)}"
        return ModelMeta.create_empty(overwrites={"name": name, "revision": "local"})


def retrieval_task(
    name: str,
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    language: str = "eng-Latn",
) -> Any:
    """Make an MTEB task of a collection in memory; nothing is downloaded.

    Args:
        documents, queries: id -> text.
        qrels: query id -> document id -> relevance.
        language: BCP 47 language and script, as MTEB names them.
    """
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    metadata = TaskMetadata(
        name=name,
        description=f"{name}, a collection given by its user",
        dataset={"path": name, "revision": "local"},
        type="Retrieval",
        category="t2t",
        eval_splits=["test"],
        eval_langs=[language],
        main_score="ndcg_at_10",
    )
    task = type("LocalRetrieval", (AbsTaskRetrieval,), {"metadata": metadata})()
    task.corpus = {"test": dict(documents)}
    task.queries = {"test": dict(queries)}
    task.relevant_docs = {"test": {query: dict(judged) for query, judged in qrels.items()}}
    task.data_loaded = True
    return task


def _text(row: Mapping[str, Any]) -> str:
    """Title and text in one, as BEIR's own baselines read a document."""
    return f"{row.get('title') or ''} {row['text']}".strip()


def _last_part(encoder: object) -> str:
    return str(encoder).rstrip("/").rsplit("/", 1)[-1] if isinstance(encoder, str | Path) else "custom"
