"""A real file system of 2 MB fills up; it is mounted where only the child sees it."""

import ctypes
import errno
import os
from pathlib import Path

import pytest

from colsearch.errors import ColsearchError, StorageError
from tests.support import world
from tests.support.children import run_in_child

# Root may mount, and so may a user who may make a user namespace; `make test-system` needs one of the two.
pytestmark = pytest.mark.system

N_WRITES = 200

_NEW_MOUNTS, _NEW_USER = 0x20000, 0x10000000
_RECURSIVE, _PRIVATE = 0x4000, 1 << 18


def mount_small_disk(folder: Path, n_bytes: int) -> None:
    """Mount an empty file system of this size in a mount namespace of this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    if libc.unshare(_NEW_MOUNTS) and libc.unshare(_NEW_MOUNTS | _NEW_USER):
        raise OSError(ctypes.get_errno(), "this test needs the right to mount: run it as root")
    if libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None):
        raise OSError(ctypes.get_errno(), "cannot make the mounts private")
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={n_bytes}".encode()):
        raise OSError(ctypes.get_errno(), "cannot mount a tmpfs")


def batch(number: int) -> world.State:
    return {f"batch{number}-{n}": n % 4 for n in range(40)}


def fill(folder: Path, *, n_bytes: int, replace: bool) -> dict[str, int]:
    """Write until the disk has refused ten writes; then make room, delete, and write again."""
    mount_small_disk(folder, n_bytes)
    path = folder / "index"
    state: world.State = {}
    ends = {"done": 0, "refused": 0}
    (folder / "ballast").write_bytes(bytes(256 << 10))
    with world.create(path) as index:
        for number in range(N_WRITES):
            documents = batch(number % 7 if replace else number)
            try:
                world.put(index, documents, replace=replace)
                state = {id: v for id, v in state.items() if id not in documents} | documents
                ends["done"] += 1
            except ColsearchError as error:
                assert isinstance(error, StorageError), repr(error)
                assert error.errno in {errno.ENOSPC, None}, repr(error)
                ends["refused"] += 1
            if number % 20 == 0 or ends["refused"]:
                problem = world.mismatch(index, state)
                assert problem is None, problem
            if ends["refused"] >= 10:
                break
        assert index.check(deep=True).ok
        # Deleting needs room too, for SQLite's journal, so a file that is not the index's makes room.
        (folder / "ballast").unlink()
        gone = list(state)[20:]
        index.delete(gone)
        index.compact()
        state = {id: version for id, version in state.items() if id not in gone}
        problem = world.mismatch(index, state)
        assert problem is None, problem
    world.assert_writer_works(path, state)
    return ends


def test_a_disk_of_2_mb_fills_up_and_goes_on_when_there_is_room_again(scratch):
    ends = run_in_child(lambda: fill(scratch / "disk", n_bytes=2 << 20, replace=False), seconds=300).unwrap()
    assert ends["refused"] >= 10 and ends["done"] >= 5, ends


def test_replacing_the_same_documents_for_ever_does_not_fill_a_small_disk(scratch):
    ends = run_in_child(lambda: fill(scratch / "disk", n_bytes=6 << 20, replace=True), seconds=300).unwrap()
    assert ends == {"done": N_WRITES, "refused": 0}, ends
