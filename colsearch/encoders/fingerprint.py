"""Names for weights that are equal exactly when the vectors are.

What is hashed are the bytes themselves, whole, with xxh3 at several GB/s: 91 MB of MiniLM take about
20 ms, so no sampling is needed. Paths and times are left out, since a checkpoint may move. The compute
dtype is left out too: bfloat16 and float32 runs of the same weights agree to a token cosine of .9999,
and an index must open on a machine with another CPU.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 22


def hash_files(root: Path, paths: Iterable[Path]) -> str:
    """Of the files' names relative to `root` and their contents, in order of the names."""
    import xxhash

    digest = xxhash.xxh3_128()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return str(digest.hexdigest())


def hash_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Of names, shapes, dtypes and contents, in order of the names."""
    import xxhash

    digest = xxhash.xxh3_128()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{name}\0{little.dtype.str}\0{little.shape}\0".encode())
        digest.update(little.tobytes())
    return str(digest.hexdigest())


def hash_settings(settings: Mapping[str, Any]) -> str:
    """Of plain JSON values, whatever the order of the keys."""
    import xxhash

    return str(xxhash.xxh3_128_hexdigest(json.dumps(settings, sort_keys=True).encode()))
