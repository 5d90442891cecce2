"""Makes a known-item collection from WordNet: an example sentence -> the meaning of a word in it.

`python -m benchmarks.corpora.wordnet build --wordnet FOLDER OUT` makes it from WordNet's own files
(data.noun, data.verb, data.adj, data.adv), which Debian's package wordnet-base has as well:

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb . && ls usr/share/wordnet

and `verify FOLDER` compares a copy with the frozen checksums. The shipped copy was made from WordNet 3.0.

A document gives the meaning of some words in one line. A query uses one of these words and need not share
another word with the document. No rule of colsearch was chosen on this collection.
"""

import collections
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
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

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "data" / "wordnet"
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
N_TEST_QUERIES = 2_000
MIN_WORDS = 4

CHECKSUMS = {
    "corpus.jsonl.xz": "c794791aa86855bcaa9a5646abbe234bc2bd72e8698e0f2857a2d1665d95ee5d",
    "queries.jsonl.xz": "795a4de5cc6e023c1a6b637fd1d57ffdb371a29e992f83ae0997e32c09d5c736",
    "qrels/test.tsv": "59c20912ee689aeca69dfb4885b7272be5a236ed50cb4f3a135c20121bfbf90b",
}


@dataclass(frozen=True, slots=True)
class Synset:
    """One meaning that some words share, and sentences that use these words in this meaning."""

    name: str
    lemmas: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{', '.join(self.lemmas)}: {self.definition}"


@dataclass(frozen=True, slots=True)
class Example:
    synset: str
    text: str


def build(wordnet: Path, out: Path) -> None:
    """Write the collection to `out`: BEIR layout, the large files compressed, and SHA256SUMS."""
    synsets = [
        synset
        for part in PARTS_OF_SPEECH
        for synset in read_synsets(part, (wordnet / f"data.{part}").read_text(encoding="utf-8"))
    ]
    write_files(out, dict(collection_files(synsets, select(synsets)[:N_TEST_QUERIES])))


def read_synsets(part_of_speech: str, data: str) -> Iterator[Synset]:
    """The synsets of a file in the format of `wndb(5WN)`: fields that name the lemmas, `|`, and the gloss."""
    for line in data.splitlines():
        # The licence, at the head of each file, is indented.
        if line.startswith(" "):
            continue
        head, gloss = line.split(" | ", 1)
        fields = head.split()
        n_lemmas = int(fields[3], 16)
        lemmas = (_lemma(field) for field in fields[4 : 4 + 2 * n_lemmas : 2])
        definition = re.split(r'; *"', gloss, maxsplit=1)[0].strip()
        yield Synset(f"{part_of_speech}-{fields[0]}", tuple(lemmas), definition, tuple(_examples(gloss)))


def _lemma(field: str) -> str:
    """A lemma without the marker of adjectives that are used in some positions only, like `galore(ip)`."""
    return re.sub(r"\(.*\)", "", field).replace("_", " ")


def _examples(gloss: str) -> list[str]:
    """The examples of a gloss; none if a quotation mark is missing, since their borders are unclear then."""
    return [] if gloss.count('"') % 2 else re.findall(r'"([^"]+)"', gloss)


def select(synsets: Sequence[Synset]) -> list[Example]:
    """One example per synset, in the order of their draws: long enough, and of no other synset."""
    n_with_text = collections.Counter(synset.text for synset in synsets)
    n_with_example = collections.Counter(words(text) for synset in synsets for text in synset.examples)
    answerable = (
        Example(synset.name, text)
        for synset in synsets
        if n_with_text[synset.text] == 1
        for text in synset.examples
        if len(text.split()) >= MIN_WORDS and n_with_example[words(text)] == 1
        # Some definitions quote the words that they define.
        if words(text) not in words(synset.text)
    )
    drawn = sorted(answerable, key=lambda example: (draw(example.text), example.text))
    return list(first_of_each(drawn, key=lambda example: example.synset))


def collection_files(synsets: Iterable[Synset], examples: Sequence[Example]) -> Iterator[tuple[str, bytes]]:
    """(file name, uncompressed content) of every shipped file."""
    yield (
        "corpus.jsonl.xz",
        lines({"_id": synset.name, "title": "", "text": synset.text} for synset in synsets),
    )
    yield (
        "queries.jsonl.xz",
        lines({"_id": query_id(example.synset), "text": example.text} for example in examples),
    )
    yield "qrels/test.tsv", known_items(example.synset for example in examples)


def verify(folder: Path = FOLDER) -> list[str]:
    """Names of the files whose content differs from the frozen one."""
    return differing(folder, CHECKSUMS)


def main(arguments: list[str] | None = None) -> int:
    return run_command(
        __doc__, sources=("wordnet",), build=build, verify=verify, folder=FOLDER, arguments=arguments
    )


if __name__ == "__main__":
    sys.exit(main())
