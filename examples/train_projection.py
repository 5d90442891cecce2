"""Make the projection of the embedded encoder: 384 token dimensions to fewer, by uncentred PCA.

    python examples/train_projection.py --out my_projection.safetensors

The texts are 5,459 pairs of a short and a long description of a Debian package (train-pairs.jsonl.xz in
examples/data/debian; SOURCE.txt there has the terms). No pair is from a source package of the collection
that quality is reported on. The states are not centred, because MaxSim takes dot products of vectors that
are not centred. The columns are ordered: the first k are the projection to k dimensions.

Tried and left out:
- Distilling MaxSim over all dimensions from these texts. It gained up to .013 nDCG@10 on SciFact at 64
  dimensions and nothing from 192 on; one run lost .01 on questions about Wikipedia.
- Scaling the directions by a power of their variance, and adding dictionary glosses to the texts: no
  difference.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colsearch.encoders.embedded import EmbeddedEncoder
from colsearch.encoders.projection import Projection
from colsearch.types import F32

PAIRS = Path(__file__).parent / "data" / "debian" / "train-pairs.jsonl.xz"
STATES = 384
DIM = 320


def read_pairs(path: Path, limit: int | None) -> tuple[list[str], list[str]]:
    """The short texts and the long texts, one pair per line of the file."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines][:limit]
    return [pair["query"] for pair in pairs], [pair["text"] for pair in pairs]


def token_states(short: list[str], long: list[str]) -> F32:
    """(n_tokens, 384) unit token states: the short texts encoded as queries, the long ones as documents."""
    encoder = EmbeddedEncoder(Projection(np.eye(STATES, dtype=np.float32)))
    return np.concatenate([encoder.encode_query(short).vectors, encoder.encode_document(long).vectors])


def principal_directions(states: F32) -> NDArray[np.float64]:
    """(384, 384) orthonormal columns, by decreasing second moment of the states along them."""
    in_float64 = states.astype(np.float64)
    _, ascending = np.linalg.eigh(in_float64.T @ in_float64)
    descending: NDArray[np.float64] = ascending[:, ::-1]
    return descending


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--limit", type=int, help="pairs to use; all by default")
    parser.add_argument("--dim", type=int, default=DIM)
    arguments = parser.parse_args()

    short, long = read_pairs(arguments.pairs, arguments.limit)
    matrix = principal_directions(token_states(short, long))[:, : arguments.dim]
    about = {
        "made_by": "examples/train_projection.py",
        "method": "uncentred PCA of all-MiniLM-L6-v2's token states",
        "texts": f"{len(short)} pairs of Debian package descriptions, {arguments.pairs.name}",
    }
    Projection(np.ascontiguousarray(matrix, np.float32)).save(arguments.out, about=about)
    print(f"wrote {arguments.out}: {matrix.shape[0]} to {matrix.shape[1]} dimensions")


if __name__ == "__main__":
    main()
