"""Shared code of the collections that are made here and shipped: files, checksums, draws, commands."""

import argparse
import hashlib
import json
import lzma
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write each file, compressed if it is named `.xz`, and SHA256SUMS."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(content) if name.endswith(".xz") else content)
    write_sums(folder, files)


def pack(content: bytes) -> bytes:
    return lzma.compress(
        content, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=9 | lzma.PRESET_EXTREME
    )


def unpack(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the checksums of the files as they are stored, in the format of `sha256sum`."""
    sums = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(names))
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def differing(folder: Path, checksums: Mapping[str, str]) -> list[str]:
    """Names of the files whose content differs from the frozen one.

    Args:
        checksums: SHA-256 of the uncompressed files, so that another compressor may be used.
    """
    return [
        name
        for name, digest in checksums.items()
        if not (folder / name).exists() or hashlib.sha256(unpack(folder / name)).hexdigest() != digest
    ]


def run_command(
    description: str | None,
    *,
    sources: Sequence[str],
    build: Callable[..., None],
    verify: Callable[[Path], list[str]],
    folder: Path,
    arguments: list[str] | None = None,
) -> int:
    """`build` a collection from its sources, or `verify` one; both print whether it is the frozen one.

    Args:
        sources: names of the paths that `build` takes before the folder that it writes to.
        folder: the copy that is verified unless another is named.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build")
    for source in sources:
        building.add_argument(f"--{source}", type=Path, required=True)
    building.add_argument("folder", metavar="out", type=Path)
    verifying = commands.add_parser("verify")
    verifying.add_argument("folder", type=Path, nargs="?", default=folder)
    options = parser.parse_args(arguments)
    if options.command == "build":
        build(*(getattr(options, source) for source in sources), options.folder)
    changed = verify(options.folder)
    verdict = f"differs from the frozen collection in {changed}" if changed else "as frozen"
    print(f"{options.folder}: {verdict}")
    return 1 if changed else 0


def first_of_each(items: Iterable[Item], key: Callable[[Item], str]) -> Iterator[Item]:
    seen: set[str] = set()
    for item in items:
        if key(item) not in seen:
            seen.add(key(item))
            yield item


def words(text: str) -> str:
    """A text in lower case, with one space between words; texts count as equal if these forms are equal."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def draw(text: str) -> float:
    """A number in [0, 1) that depends on the text alone; unlike a shuffle, it stays when texts are added."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def query_id(document: str) -> str:
    """An id unlike the document's, because BEIR's and MTEB's evaluators drop a hit with its query's id."""
    return f"q-{document}"


def lines(records: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def known_items(documents: Iterable[str]) -> bytes:
    """Judgements with one query per document; the document is the query's only answer."""
    judged = "".join(f"{query_id(document)}\t{document}\t1\n" for document in documents)
    return ("query-id\tcorpus-id\tscore\n" + judged).encode()
