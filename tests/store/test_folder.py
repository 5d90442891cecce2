"""An index touches only the files that it has written itself."""

from pathlib import Path

import pytest

from colsearch.errors import DamagedError, IndexExistsError
from colsearch.store.folder import FileKind, IndexFolder

NAME = "0123456789abcdef" * 2


@pytest.fixture
def folder(tmp_path: Path) -> IndexFolder:
    folder = IndexFolder(tmp_path / "index")
    folder.make()
    return folder


def test_a_sweep_removes_our_files_without_a_row_and_no_others(folder):
    ours = ["segments/1a-2b.tmp", f"segments/{NAME}.seg", f"segments/{NAME}.pre", f"models/{NAME}.model"]
    others = ["segments/notes.txt", f"segments/{NAME}.seg.bak", "models/README", f"models/{NAME[:-1]}.model"]
    named = f"segments/{NAME[::-1]}.seg"
    for name in [*ours, *others, named]:
        (folder.path / name).write_text("content")
    (folder.path / "segments" / f"{NAME[8:]}{NAME[:8]}.seg").symlink_to("notes.txt")
    (folder.path / "segments" / "5-5.tmp").mkdir()
    folder.sweep({FileKind.SEGMENT: {f"{NAME[::-1]}.seg"}, FileKind.PREFILTER: set(), FileKind.MODEL: set()})
    left = {str(path.relative_to(folder.path)) for path in folder.path.glob("*/*")}
    assert left == {*others, named, f"segments/{NAME[8:]}{NAME[:8]}.seg", "segments/5-5.tmp"}


@pytest.mark.parametrize("name", [f"{NAME}.pre", f"../{NAME}.seg", f"{NAME}.seg/x", NAME, "", None, 7])
def test_a_name_that_the_index_does_not_give_leads_nowhere(folder, name):
    with pytest.raises(DamagedError, match="which is not one of ours"):
        folder.path_of(FileKind.SEGMENT, name)


def test_a_folder_that_holds_anything_is_not_made_an_index(folder):
    (folder.path / "index.sqlite.new").write_text("left by a killed create")
    folder.make()
    (folder.path / "segments" / "file").write_text("content")
    with pytest.raises(IndexExistsError, match="is not empty"):
        folder.make()
