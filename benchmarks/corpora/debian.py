"""Makes a known-item collection from Debian package descriptions: short description -> long description.

`python -m benchmarks.corpora.debian build --packages F --translations F OUT` makes it from a package index:

    apt-cache dumpavail > packages
    curl -s http://deb.debian.org/debian/dists/bookworm/main/i18n/Translation-en.xz | xz -d > translations

and `verify FOLDER` compares a copy with the frozen checksums. The shipped copy was made from Debian 12.15.

The two descriptions of a package, one short and one long, say the same thing in different words. Their author
wanted the package to be found. So they are a query and its one right answer, 30,815 times, in free texts.
"""

import collections
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpora.frozen import (
    differing,
    draw,
    first_of_each,
    known_items,
    lines,
    query_id,
    run_command,
    words,
    write_files,
)

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "data" / "debian"
N_TEST_QUERIES, N_DEV_QUERIES = 2_000, 1_000
MAX_PER_SOURCE = 12
TRAIN_SHARE = 0.15
TEXT_CHARACTERS = range(60, 1201)

CHECKSUMS = {
    "corpus.jsonl.xz": "ececbaea4db5ca5b81fd871d802e6066884820658866feb6293d8a69039af114",
    "queries.jsonl.xz": "a2e6d586c72b3c5609f46e65b79f6951a3d7df42f59ab88809323bc2abb26645",
    "qrels/test.tsv": "24355c53e8d3e2aa6f70aa3cb1d5a75ee42da2ec673907c1553cdb34013d75d7",
    "qrels/dev.tsv": "e81cc6b1e5dd2e79dd55e4c407e3cdc4b3dd13680b8a23908a46bc5fee28ae16",
    "train-pairs.jsonl.xz": "0cdee08336ae366da3556786dfb5d51c7b4cf8f46f2d2b569288331b25a4a4eb",
}


@dataclass(frozen=True, slots=True)
class Package:
    """One binary package; `source` groups the packages built from the same upstream."""

    name: str
    source: str
    short: str
    long: str

    @property
    def text(self) -> str:
        """The first paragraph of the long description; the rest is boilerplate shared with siblings."""
        return self.long.split("\n")[0]


def build(packages: Path, translations: Path, out: Path) -> None:
    """Write the collection to `out`: BEIR layout, each file compressed, and SHA256SUMS."""
    sources = dict(read_sources(packages.read_text(encoding="utf-8")))
    described = read_descriptions(translations.read_text(encoding="utf-8"), sources)
    test, train = split(select(described))
    write_files(out, dict(collection_files(test, train)))


def read_sources(index: str) -> Iterator[tuple[str, str]]:
    """(package, its source package) from an index in the format of `Packages`."""
    for block in index.split("\n\n"):
        name = re.search(r"^Package: (.*)$", block, re.M)
        source = re.search(r"^Source: (\S+)", block, re.M)
        if name:
            yield name[1], source[1] if source else name[1]


def read_descriptions(index: str, sources: Mapping[str, str]) -> Iterator[Package]:
    """Packages that have both descriptions, from an index in the format of `Translation-en`."""
    for block in index.split("\n\n"):
        name = re.search(r"^Package: (.*)$", block, re.M)
        description = re.search(r"^Description-en: (.*)\n((?: .*\n?)*)", block, re.M)
        if name and description:
            long = "\n".join(paragraphs(description[2]))
            if len(long) >= TEXT_CHARACTERS.start:
                yield Package(name[1], sources.get(name[1], name[1]), description[1].strip(), long)


def paragraphs(description: str) -> list[str]:
    """The paragraphs of a description: a line with a lone dot separates them (Debian Policy 5.6.13)."""
    split_lines: list[list[str]] = [[]]
    for line in map(str.strip, description.split("\n")):
        if line == ".":
            split_lines.append([])
        elif line:
            split_lines[-1].append(line)
    return [" ".join(lines) for lines in split_lines if lines]


def select(packages: Iterable[Package]) -> list[Package]:
    """Packages whose long text and short text no other package has, sorted by name."""
    ordered = sorted(
        packages, key=lambda package: (package.name, package.source, package.short, package.long)
    )
    distinct = list(first_of_each(ordered, key=lambda package: re.sub(r"\W+", " ", package.long.lower())))
    n_with_short = collections.Counter(words(package.short) for package in distinct)
    answerable = (
        package
        for package in distinct
        if len(package.text) in TEXT_CHARACTERS and n_with_short[words(package.short)] == 1
    )
    told_apart = first_of_each(answerable, key=lambda package: words(package.text))
    # Two versions of a package may have different descriptions, but an id names one document.
    return list(first_of_each(told_apart, key=lambda package: package.name))


def split(packages: Iterable[Package]) -> tuple[list[Package], list[Package]]:
    """(test, train), with different source packages, so that no sibling of a test text is trained on."""
    by_source: dict[str, list[Package]] = {}
    for package in sorted(packages, key=lambda package: (len(package.name), package.name)):
        by_source.setdefault(package.source, []).append(package)
    test: list[Package] = []
    train: list[Package] = []
    for source, siblings in by_source.items():
        if draw(source) < TRAIN_SHARE:
            train += siblings
        else:
            # A few sources build hundreds of near-identical packages (language packs, plugins).
            test += siblings[:MAX_PER_SOURCE]
    return sorted(test, key=lambda package: package.name), sorted(train, key=lambda package: package.name)


def collection_files(test: list[Package], train: list[Package]) -> Iterator[tuple[str, bytes]]:
    """(file name, uncompressed content) of every shipped file."""
    drawn = sorted(test, key=lambda package: draw("q" + package.name))
    parts = {
        "test": drawn[:N_TEST_QUERIES],
        "dev": drawn[N_TEST_QUERIES : N_TEST_QUERIES + N_DEV_QUERIES],
    }
    yield (
        "corpus.jsonl.xz",
        lines(
            {"_id": package.name, "title": "", "text": package.text, "metadata": {"source": package.source}}
            for package in test
        ),
    )
    yield (
        "queries.jsonl.xz",
        lines(
            {"_id": query_id(package.name), "text": package.short}
            for part in parts.values()
            for package in part
        ),
    )
    for name, part in parts.items():
        yield f"qrels/{name}.tsv", known_items(package.name for package in part)
    yield (
        "train-pairs.jsonl.xz",
        lines(
            {"_id": package.name, "source": package.source, "query": package.short, "text": package.text}
            for package in train
        ),
    )


def verify(folder: Path = FOLDER) -> list[str]:
    """Names of the files whose content differs from the frozen one."""
    return differing(folder, CHECKSUMS)


def main(arguments: list[str] | None = None) -> int:
    return run_command(
        __doc__,
        sources=("packages", "translations"),
        build=build,
        verify=verify,
        folder=FOLDER,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
