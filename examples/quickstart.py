"""Texts in, ranked and explained hits out: `python -m examples.quickstart`."""

import tempfile
from pathlib import Path

from colsearch import ColIndex

TEXTS = {
    "danube": "The Danube flows through ten countries, more than any other river.",
    "aspirin": "Aspirin inhibits the production of prostaglandins.",
    "penicillin": "Penicillin was discovered by Alexander Fleming in 1928.",
    "rhine": "The Rhine rises in the Swiss Alps and ends in the North Sea.",
}
YEARS = [2001, 1971, 1928, 1999]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ColIndex.create(Path(folder) / "index") as index:
        index.add(TEXTS.values(), ids=TEXTS, metadata=[{"year": year} for year in YEARS])
        query = "Which river crosses the most borders?"
        for hit in index.search(query, k=2):
            print(f"{hit.score:.2f}  {hit.id}  {hit.text}")
        print("before 1950:", [hit.id for hit in index.search(query, where={"year": {"$lt": 1950}})])
        print(index.explain(query, "danube"))


if __name__ == "__main__":
    main()
