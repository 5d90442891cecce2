"""The address space of this process, and a folder in memory."""

import os
from pathlib import Path

# An fsync costs nothing there.
MEMORY_FOLDER = Path("/dev/shm")


def address_space_bytes() -> int:
    """Bytes of this process's address space; a test sets its limit that many bytes above."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
