"""Machine code on disk: one file per kernel, found only by the same source on the same kind of processor."""

import hashlib
import logging
import os
import sys
from functools import lru_cache
from pathlib import Path

from colsearch_kernels.runtime.entry import OBJECT_HEAD_BYTES
from colsearch_kernels.runtime.tiers import target_features, tier

VARIABLE = "COLSEARCH_KERNEL_CACHE"
_PACKAGE = Path(__file__).parent.parent
_MAGIC = b"colsearch kernel 2"
_log = logging.getLogger("colsearch_kernels")


def read(name: str) -> bytes | None:
    """The object file of a kernel; None if there is none, or if it is not as it was written."""
    for folder in _folders():
        try:
            magic, checksum, code = _path(folder, name).read_bytes().split(b"\n", 2)
        except (OSError, ValueError):
            continue
        # LLVM may end the process over a file that was cut short.
        if magic == _MAGIC and checksum == _checksum(code):
            return code
    return None


def write(name: str, code: bytes) -> None:
    """Write an object file into the first folder that takes it; if none does, log a warning and go on."""
    content = b"\n".join([_MAGIC, _checksum(code), code])
    errors = []
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Other processes may write the same kernel at the same time, and each must see whole files only.
            unfinished = folder / f"{name}-{os.getpid()}.tmp"
            unfinished.write_bytes(content)
            unfinished.replace(_path(folder, name))
            return
        except OSError as error:
            errors.append(error)
    _log.warning("compiled code could not be cached, so the next process compiles again: %s", errors)


def _checksum(code: bytes) -> bytes:
    return hashlib.sha256(code).hexdigest().encode()


def _folders() -> list[Path]:
    """Folders in the order in which they are tried: the one asked for alone, or the package's, then the user's."""
    wanted = os.environ.get(VARIABLE)
    if wanted:
        return [Path(wanted)]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return [_PACKAGE / "__pycache__", user / "colsearch"]


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}-{_salt()}.code"


@lru_cache(maxsize=1)
def _salt() -> str:
    """A hash of everything that machine code depends on."""
    import llvmlite

    # Each release of Numba requires its own release of llvmlite. The features are named beside the tier because
    # bfloat16 instructions have no tier of their own.
    target = [
        tier().name,
        *sorted(target_features()),
        sys.platform,
        str(OBJECT_HEAD_BYTES),
        llvmlite.__version__,
    ]
    digest = hashlib.sha256(" ".join(target).encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
