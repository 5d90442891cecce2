"""Hashes that name an encoder's weights: encoders have the same name if they make the same vectors.

All bytes of the weights are hashed. xxh3 reads several GB/s, so MiniLM's 91 MB take about 20 ms and no
sampling is needed. Paths and times are left out, because a checkpoint may move. The compute dtype is left
out, because an index must open on a machine with another CPU; bfloat16 and float32 runs of the same weights
agree to a token cosine of .9999.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 22


def hash_files(root: Path, paths: Iterable[Path]) -> str:
    """Hash of files: their names relative to `root`, sizes and contents, in order of the names."""
    import xxhash

    digest = xxhash.xxh3_128()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return str(digest.hexdigest())


def hash_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash of arrays: their names, dtypes, shapes and contents, in order of the names."""
    import xxhash

    digest = xxhash.xxh3_128()
    for name, array in sorted(arrays.items()):
        little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{name}\0{little_endian.dtype.str}\0{little_endian.shape}\0".encode())
        digest.update(little_endian.tobytes())
    return str(digest.hexdigest())


def hash_settings(settings: Mapping[str, Any]) -> str:
    """Hash of plain JSON values; the order of keys does not matter."""
    import xxhash

    return str(xxhash.xxh3_128_hexdigest(json.dumps(settings, sort_keys=True).encode()))
