"""Reranking without an index: any retriever's texts, ordered by MaxSim in float32."""

from collections.abc import Sequence

from colsearch.ingest.validate import checked_text
from colsearch.query.request import checked_k, checked_query_text
from colsearch.scoring.ranking import Ranking
from colsearch.types import Hit, Hits


def rerank(query: str, texts: Sequence[str], *, encoder: object = None, k: int | None = None) -> Hits:
    """Order texts by late interaction with the query, best first.

    Args:
        texts: the candidates; a text without tokens is left out.
        encoder: as for `ColIndex.create`.
        k: number of hits to keep; all if None.
    Returns: Hits whose ids are positions in `texts`.
    Raises: DocumentError, EncoderError.
    """
    import numpy as np

    import colsearch_kernels as kernels
    from colsearch.encoders import load_encoder

    loaded = load_encoder(encoder)
    query_tokens = loaded.encode_query([checked_query_text(query)])
    tokens = loaded.encode_document([checked_text(text, where=f"text {n}") for n, text in enumerate(texts)])
    scores = kernels.maxsim(query_tokens.vectors, tokens.vectors, tokens.doclens)
    ranking = Ranking.best(np.arange(len(texts)), scores, checked_k(k or len(texts) or 1))
    return Hits(
        Hit(int(position), float(score), texts[position])
        for position, score in zip(ranking.doc_nos, ranking.scores)
    )
