"""Files -> documents: JSONL, BEIR folders, TSV and CSV with a header, folders of text files; TREC runs."""

from colsearch.readers.files import Skipped, read_documents, read_queries
from colsearch.readers.trec import read_qrels, read_run, write_run

__all__ = ["Skipped", "read_documents", "read_qrels", "read_queries", "read_run", "write_run"]
