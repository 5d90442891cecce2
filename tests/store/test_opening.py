"""Opening and refreshing read and verify no more than needed; the same calls make the same files."""

import errno
import resource
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import xxhash

from colsearch import ColIndex
from colsearch.errors import DamagedError, FormatError, StorageError
from colsearch.store import container, files
from colsearch.store.segment import Segment
from tests.support import world
from tests.support.children import run_in_child


def biggest(path: Path) -> Path:
    return max((path / "segments").iterdir(), key=lambda file: file.stat().st_size)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """One wrong bit in the codes of the last document of three."""
    with ColIndex.create(tmp_path / "index", dim=64) as index:
        rng = np.random.default_rng(0)
        index.add_vectors([rng.standard_normal((400, 64)) for _ in range(3)], ids=["a", "b", "c"])
    file = biggest(tmp_path / "index")
    whole = Segment(file)
    # 400 tokens of 32 bytes: the last document lies in blocks of its own.
    place = container.HEADER_BYTES + whole.file.first_block("plane0") * 4096 + 1199 * 32
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    return tmp_path / "index"


QUERY = np.ones((2, 64), np.float32)


def test_a_small_file_is_verified_at_open(damaged):
    with pytest.raises(DamagedError, match=r"block \d+ \(section 'plane0'\) does not match its checksum"):
        ColIndex.open(damaged)


def test_a_large_file_is_verified_where_it_is_first_read(damaged):
    with patch.object(container, "VERIFY_AT_OPEN_BYTES", 0), ColIndex.open(damaged, n_threads=1) as index:
        assert [hit.id for hit in index.rerank(QUERY, ["a", "b"])] != []
        for _ in range(2):
            with pytest.raises(DamagedError, match="section 'plane0'"):
                index.rerank(QUERY, ["a", "c"])
            with pytest.raises(DamagedError, match="section 'plane0'"):
                index.search(QUERY, exact=True)


@pytest.mark.parametrize("more_blocks, verified", [(0, True), (1, False)])
def test_a_large_file_is_one_of_more_than_64_mib(tmp_path, more_blocks, verified):
    # The file ends with 8 bytes of checksum per block.
    n_blocks = ((64 << 20) - container.HEADER_BYTES) // (4096 + 8) + more_blocks
    section = container.Section.of("plane0", np.zeros(n_blocks * 4096, np.uint8))
    name, n_bytes = container.write(tmp_path, ".test", [section], {})
    assert (n_bytes <= 64 << 20) == verified
    assert container.Container(tmp_path / name).all_verified == verified


def test_full_verifies_a_large_file_at_open_and_off_never(damaged):
    with (
        patch.object(container, "VERIFY_AT_OPEN_BYTES", 0),
        pytest.raises(DamagedError, match="section 'plane0'"),
    ):
        ColIndex.open(damaged, verify="full")
    with ColIndex.open(damaged, verify="off") as index:
        assert len(index.search(QUERY, exact=True)) == 3


def test_a_snapshot_costs_nothing_while_nothing_is_written_and_one_file_after_a_write(tmp_path):
    state = world.build_base(tmp_path / "index")
    with (
        ColIndex.open(tmp_path / "index") as index,
        ColIndex.open(tmp_path / "index", read_only=True) as reader,
        patch.object(files, "map_file", side_effect=files.map_file) as mapped,
    ):
        first = reader._store.snapshot()
        assert all(reader._store.snapshot() is first for _ in range(50)) and not mapped.call_count
        world.put(index, {"new": 1})
        mapped.reset_mock()
        second = reader._store.snapshot()
        assert second is not first and mapped.call_count == 1
        assert [live_segment.segment for live_segment in second.segments[:-1]] == [
            live_segment.segment for live_segment in first.segments
        ]
        assert world.mismatch(reader, state | {"new": 1}) is None


@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_the_same_calls_make_the_same_files_for_any_number_of_threads(tmp_path, n_threads):
    def built(name: str, n_threads: int) -> dict[str, bytes]:
        rng = np.random.default_rng(1)
        with ColIndex.create(tmp_path / name, dim=24, n_threads=n_threads) as index:
            for call in range(3):
                vectors = [rng.standard_normal((int(n), 24)) for n in rng.integers(1, 40, 60)]
                ids = [f"{call}-{n}" for n in range(60)]
                index.add_vectors(vectors, ids=ids, texts=ids, metadata=[{"n": id} for id in ids])
            index.delete(["0-3", "1-7"])
            index.compact()
        return {file.name: file.read_bytes() for file in (tmp_path / name / "segments").iterdir()}

    assert built("one", 1) == built("several", n_threads)


def test_a_container_of_a_newer_format_is_refused_with_advice(tmp_path):
    world.build_base(tmp_path / "index")
    file = biggest(tmp_path / "index")
    content = bytearray(file.read_bytes())
    content[8:12] = np.array([2], "<u4").tobytes()
    assert content[16:24] == xxhash.xxh3_64_digest(
        content[32 : 32 + int.from_bytes(content[12:16], "little")]
    )
    file.write_bytes(content)
    with pytest.raises(FormatError, match="has format 2, this release reads up to 1; upgrade colindex"):
        ColIndex.open(tmp_path / "index")


def test_a_file_that_cannot_be_opened_for_want_of_descriptors_is_not_called_damaged(tmp_path):
    state = world.build_base(tmp_path / "index")

    def use() -> str:
        with ColIndex.open(tmp_path / "index", n_threads=1) as index:
            segments = [live.segment.file.path for live in index._store.snapshot().segments]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                with pytest.raises(StorageError, match="cannot open") as raised:
                    Segment(segments[0])
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert raised.value.errno == errno.EMFILE
            assert world.mismatch(index, state) is None
            return "said so"

    assert run_in_child(use).unwrap() == "said so"
