"""Too little memory for a write: a typed error, the old state, and the next write works."""

import errno
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import ColsearchError, StorageError
from tests.support import world
from tests.support.children import run_in_child
from tests.support.memory import address_space_bytes

N_DOCS = 150
# The largest is enough for everything: 150 documents of 2,000 tokens are 19 MB as floats.
ROOM_BYTES = [0, 1 << 14, 1 << 17, 1 << 20, *range(2 << 20, 48 << 20, 3 << 20)]

# Free fragments of the heap that are smaller than the last of these stay free.
BLOCK_BYTES = [1 << 20, 1 << 17, 1 << 14]
VECTORS = np.random.default_rng(0).standard_normal((N_DOCS, 2000, world.DIM), np.float32)


def add(index: ColIndex) -> None:
    index.add_vectors(VECTORS, ids=[f"large{n}" for n in range(N_DOCS)])


CALLS: dict[str, Callable[[ColIndex], object]] = {
    "add": add,
    "purge": lambda index: index.delete("a1", purge=True),
    "compact": ColIndex.compact,
    "open": lambda index: ColIndex.open(index.path).close(),
}


def _take_free_memory() -> list[bytearray]:
    """Blocks that fill the memory which the process holds and does not use; a merge could do with that."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes(), hard))
    taken: list[bytearray] = []
    for n_bytes in BLOCK_BYTES:
        with suppress(MemoryError):
            while True:
                taken.append(bytearray(n_bytes))
    return taken


@pytest.mark.parametrize("name", CALLS)
def test_too_little_memory_is_a_typed_error_and_the_next_call_works(scratch, name):
    state = world.build_base(scratch / "whole")
    path = scratch / "index"

    def limited(room_bytes: int) -> str:
        with ColIndex.open(path, n_threads=1) as index:
            # Load kernels first, because the limit is to hit the call and not the loading.
            world.put(index, {"warm": 1})
            index.search(world.QUERY)
            soft, hard = resource.getrlimit(resource.RLIMIT_AS)
            taken = _take_free_memory()
            resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes() + room_bytes, hard))
            try:
                CALLS[name](index)
                end = "done"
            except ColsearchError as error:
                assert isinstance(error, StorageError) and error.errno == errno.ENOMEM, repr(error)
                end = "late" if "bytes of them remain" in str(error) else "refused"
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
                taken.clear()
            expected = state | {"warm": 1}
            if name == "purge" and end != "refused":
                del expected["a1"]
            added = {id for id in index if str(id).startswith("large")}
            assert len(added) == (N_DOCS if name == "add" and end == "done" else 0), (
                f"{len(added)} were added"
            )
            if added:
                index.delete(added)
            problem = world.mismatch(index, expected)
            assert problem is None, problem
            assert index.check(deep=True).ok
        world.assert_writer_works(path, expected)
        return end

    ends = []
    for room_bytes in ROOM_BYTES:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(scratch / "whole", path)
        ends.append(run_in_child(lambda: limited(room_bytes)).unwrap())
    assert ends[0] in {"refused", "late"} and ends[-1] == "done", ends
