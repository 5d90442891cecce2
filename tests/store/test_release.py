"""A mapped file leaves the process's memory when it is told to, and reads the same afterwards."""

import re
from pathlib import Path

import numpy as np

from colsearch.store import container


def mapped_mb() -> int:
    found = re.search(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) >> 10


def test_a_released_file_costs_no_memory_until_it_is_read_again(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, 16 << 20, np.uint8)
    name, _ = container.write(tmp_path, ".test", [container.Section.of("plane0", values)], {})
    file = container.Container(tmp_path / name, verify="full")
    array = file.rows("plane0")
    read = mapped_mb()
    file.release()
    assert read - mapped_mb() >= 15
    np.testing.assert_array_equal(array, values)
    assert file.all_verified
    assert read - mapped_mb() < 2
