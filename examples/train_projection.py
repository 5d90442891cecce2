"""Make the projection of the embedded encoder: 384 token dimensions to fewer, by distilling MaxSim.

    python examples/train_projection.py --out my_projection.safetensors

A query's MaxSim with all 384 dimensions is the teacher; the projected one must rank documents alike. No
relevance judgement is used, only texts: 5,459 short and long descriptions of Debian packages (train-pairs in
examples/data/debian; SOURCE.txt there has the terms), none from a source package of the reported collection.

The map starts as uncentred PCA of the documents' token states. Every loss is taken on the first 64, 96, 128,
192, 256 and 320 columns at once, so the columns stay ordered: the first k are a projection to k dimensions.
"""

import argparse
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from colsearch.encoders.embedded import EmbeddedEncoder
from colsearch.encoders.projection import Projection
from colsearch.types import F32, TokenVectors

PAIRS = Path(__file__).parent / "data" / "debian" / "train-pairs.jsonl.xz"
WIDTHS = (64, 96, 128, 192, 256, 320)
STATES = 384


@dataclass(frozen=True, slots=True)
class Training:
    """Settings of the distillation; the shipped projection was made with these.

    Attributes:
        batch_texts: pairs per step; every query meets every document of its batch.
        hard_share: of the batches, those made of one text's nearest neighbours instead of random ones.
    """

    steps: int = 400
    batch_texts: int = 48
    learning_rate: float = 1e-3
    hard_share: float = 0.5
    seed: int = 0


class Ragged:
    """Token states of many texts end to end, to be gathered by text."""

    def __init__(self, tokens: TokenVectors) -> None:
        self.states = torch.from_numpy(tokens.vectors)
        self.lengths = torch.from_numpy(tokens.doclens)
        self.starts = torch.cumsum(self.lengths, 0) - self.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n_tokens, 384) states of these texts, and (n_tokens,) to which of them each belongs."""
        rows = [torch.arange(self.lengths[n]) + self.starts[n] for n in texts]
        owners = torch.repeat_interleave(torch.arange(len(texts)), self.lengths[texts])
        return self.states[torch.cat(rows)], owners

    def means(self) -> torch.Tensor:
        """(n_texts, 384) unit mean of each text's states."""
        owners = torch.repeat_interleave(torch.arange(len(self)), self.lengths)
        sums = torch.zeros(len(self), self.states.shape[1]).index_add(0, owners, self.states)
        return normalize(sums, dim=1)


def principal_directions(states: torch.Tensor) -> torch.Tensor:
    """(384, 384) orthonormal columns, those of the largest second moment first; nothing is centred, because
    the dot products that MaxSim takes are not."""
    moments = states.double().T @ states.double()
    return torch.linalg.eigh(moments).eigenvectors.flip(1).float()


def distil(queries: Ragged, documents: Ragged, start: torch.Tensor, training: Training) -> torch.Tensor:
    """(384, WIDTHS[-1]) map whose every WIDTHS prefix ranks like all dimensions do."""
    matrix = torch.nn.Parameter(start[:, : WIDTHS[-1]].clone())
    scales = torch.nn.Parameter(torch.ones(len(WIDTHS)))
    optimizer = torch.optim.Adam(
        [{"params": [matrix], "lr": training.learning_rate}, {"params": [scales], "lr": 1e-2}]
    )
    for step, batch in enumerate(_batches(documents, training)):
        optimizer.param_groups[0]["lr"] = training.learning_rate * _schedule(step, training.steps)
        loss = _loss(matrix, scales, queries.take(batch), documents.take(batch), n_texts=len(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:4} of {training.steps}: loss {float(loss.detach()):.3f}", flush=True)
    return matrix.detach()


def _batches(documents: Ragged, training: Training) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(training.seed)
    means = documents.means()
    n_batch = min(training.batch_texts, len(documents))
    for _ in range(training.steps):
        if torch.rand((), generator=generator) < training.hard_share:
            seed_text = means[torch.randint(len(documents), (), generator=generator)]
            yield torch.topk(means @ seed_text, n_batch).indices
        else:
            yield torch.randperm(len(documents), generator=generator)[:n_batch]


def _schedule(step: int, n_steps: int) -> float:
    warm_up = min(1.0, (step + 1) / 20)
    return warm_up * 0.5 * (1 + float(np.cos(np.pi * step / n_steps)))


def _loss(
    matrix: torch.Tensor,
    scales: torch.Tensor,
    query: tuple[torch.Tensor, torch.Tensor],
    document: tuple[torch.Tensor, torch.Tensor],
    *,
    n_texts: int,
) -> torch.Tensor:
    """Squared error of each query token's best similarity, and of each query's sum, between documents.

    What is common to all documents of a batch does not rank them, so it is taken out on both sides, and a
    common factor per width is free.
    """
    (query_states, query_owners), (states, owners) = query, document
    with torch.no_grad():
        wanted = _centred(_best(states @ query_states.T, owners, n_texts))
        wanted_sums = _sums(wanted, query_owners, n_texts)
    projected, projected_query = states @ matrix, query_states @ matrix
    loss = torch.zeros(())
    for scale, width in zip(scales, WIDTHS):
        similarity = normalize(projected[:, :width], dim=1) @ normalize(projected_query[:, :width], dim=1).T
        best = _centred(_best(similarity, owners, n_texts)) * scale
        loss = loss + 100 * (best - wanted).square().mean()
        loss = loss + (_sums(best, query_owners, n_texts) - wanted_sums).square().mean()
    return loss


def _best(similarity: torch.Tensor, owners: torch.Tensor, n_texts: int) -> torch.Tensor:
    """(n_texts, n_query_tokens) maximum over each document's tokens."""
    worst = torch.full((n_texts, similarity.shape[1]), -2.0)
    return worst.scatter_reduce(0, owners[:, None].expand_as(similarity), similarity, "amax")


def _centred(best: torch.Tensor) -> torch.Tensor:
    return best - best.mean(dim=0, keepdim=True)


def _sums(best: torch.Tensor, query_owners: torch.Tensor, n_texts: int) -> torch.Tensor:
    """(n_documents, n_queries) MaxSim from (n_documents, n_query_tokens) maxima."""
    return torch.zeros(len(best), n_texts).index_add(1, query_owners, best)


def read_pairs(path: Path, limit: int | None) -> tuple[list[str], list[str]]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines][:limit]
    return [pair["query"] for pair in pairs], [pair["text"] for pair in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--limit", type=int, help="pairs to use; all by default")
    parser.add_argument("--steps", type=int, default=Training().steps)
    arguments = parser.parse_args()

    # The products are small: a second thread would mostly wait.
    torch.set_num_threads(1)
    identity: F32 = np.eye(STATES, dtype=np.float32)
    encoder = EmbeddedEncoder(Projection(identity))
    short, long = read_pairs(arguments.pairs, arguments.limit)
    queries, documents = Ragged(encoder.encode_query(short)), Ragged(encoder.encode_document(long))
    start = principal_directions(documents.states)
    matrix = distil(queries, documents, start, Training(steps=arguments.steps))
    about = {
        "made_by": "examples/train_projection.py",
        "teacher": "MaxSim over all 384 dimensions of all-MiniLM-L6-v2's token states",
        "texts": f"{len(documents)} pairs of Debian package descriptions, {arguments.pairs.name}",
        "widths": ",".join(map(str, WIDTHS)),
    }
    Projection(matrix.numpy()).save(arguments.out, about=about)
    print(f"wrote {arguments.out}: {tuple(matrix.shape)}")


if __name__ == "__main__":
    main()
