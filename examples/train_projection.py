"""Make the projection of the embedded encoder: 384 token dimensions to fewer, by uncentred PCA.

    python examples/train_projection.py --out my_projection.safetensors

The texts are 5,459 short and long descriptions of Debian packages (train-pairs in examples/data/debian;
SOURCE.txt there has the terms), none from a source package of the collection that quality is reported on.
Nothing is centred, because the dot products that MaxSim takes are not. The columns are ordered: the first k
are the projection to k dimensions.

Tried and left out: distilling MaxSim with all dimensions from these texts (it gained up to .013 nDCG@10 on
SciFact at 64 dimensions and nothing from 192 on, and one run lost .01 on questions about Wikipedia), scaling
the directions by a power of their variance, and adding dictionary glosses to the texts (no difference).
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
    """Short and long texts, one of each per line."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines][:limit]
    return [pair["query"] for pair in pairs], [pair["text"] for pair in pairs]


def token_states(short: list[str], long: list[str]) -> F32:
    """(n_tokens, 384) unit states of the texts as queries and as documents."""
    encoder = EmbeddedEncoder(Projection(np.eye(STATES, dtype=np.float32)))
    return np.concatenate([encoder.encode_query(short).vectors, encoder.encode_document(long).vectors])


def principal_directions(states: F32) -> NDArray[np.float64]:
    """(384, 384) orthonormal columns, those of the largest second moment first."""
    wide = states.astype(np.float64)
    _, directions = np.linalg.eigh(wide.T @ wide)
    ordered: NDArray[np.float64] = directions[:, ::-1]
    return ordered


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
