"""Machine code on disk: a file a kernel, found again only by the same source for the same processor."""

import hashlib
import logging
import os
import sys
from functools import lru_cache
from pathlib import Path

from colsearch_kernels.runtime.tiers import target_features, tier

VARIABLE = "COLSEARCH_KERNEL_CACHE"
_PACKAGE = Path(__file__).parent.parent
_MAGIC = b"colsearch kernel 1"
_log = logging.getLogger("colsearch_kernels")


def read(name: str) -> tuple[str, bytes] | None:
    """How a kernel's arguments are packed, and its object file; None if it is not there, or not as it was written."""
    for folder in _folders():
        try:
            magic, checksum, packing, code = _path(folder, name).read_bytes().split(b"\n", 3)
        except (OSError, ValueError):
            continue
        # LLVM may end the process over a file that was cut short.
        if magic == _MAGIC and checksum == _checksum(packing, code):
            return packing.decode(), code
    return None


def write(name: str, packing: str, code: bytes) -> None:
    """Into the first folder that takes it; no such folder is no reason not to run the code."""
    content = b"\n".join([_MAGIC, _checksum(packing.encode(), code), packing.encode(), code])
    errors = []
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Other processes may write the same kernel at the same time, and each sees whole files only.
            unfinished = folder / f"{name}-{os.getpid()}.tmp"
            unfinished.write_bytes(content)
            unfinished.replace(_path(folder, name))
            return
        except OSError as error:
            errors.append(error)
    _log.warning("compiled code could not be cached, the next process compiles anew: %s", errors)


def _checksum(packing: bytes, code: bytes) -> bytes:
    return hashlib.sha256(packing + b"\n" + code).hexdigest().encode()


def _folders() -> list[Path]:
    """Where to look: the one that was asked for, else beside this package, else the user's own."""
    wanted = os.environ.get(VARIABLE)
    if wanted:
        return [Path(wanted)]
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return [_PACKAGE / "__pycache__", own / "colsearch"]


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}-{_salt()}.code"


@lru_cache(maxsize=1)
def _salt() -> str:
    """A hash of all that machine code is made from."""
    import llvmlite

    # Each release of numba has a release of llvmlite of its own. Of the features, bfloat16's is no tier.
    target = [tier().name, *sorted(target_features()), sys.platform, llvmlite.__version__]
    digest = hashlib.sha256(" ".join(target).encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
