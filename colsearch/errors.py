"""Every error that colsearch raises on purpose; each message names the fault and the remedy."""


class ColsearchError(Exception):
    """Base of all errors of this library, so that one `except` catches them."""


class ConfigError(ColsearchError, ValueError):
    """An option, or a combination of options, that cannot work."""


class ShapeError(ColsearchError, ValueError):
    """Arrays whose shape, dtype or dimension do not fit together."""


class VectorError(ColsearchError, ValueError):
    """Token vectors with NaN, infinite or zero rows."""


class DocumentError(ColsearchError, ValueError):
    """A document, id, metadata value, query or input line that is not valid."""


class DuplicateIdError(DocumentError):
    """An id given twice in one call, or already in the index."""


class UnknownIdError(ColsearchError, KeyError):
    """An id that the index does not hold."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would put the sentence into quotes.
        return str(self.args[0]) if self.args else ""


class FilterError(ColsearchError, ValueError):
    """A `where` expression that is malformed."""


class EncoderError(ColsearchError):
    """An encoder that is missing, unsafe to load, or not the one that built the index."""


class IndexNotFoundError(ColsearchError, FileNotFoundError):
    """No index at this path."""


class IndexExistsError(ColsearchError, FileExistsError):
    """`create` was called for a path that already holds something."""


class IndexLockedError(ColsearchError):
    """Another process is writing to the index."""


class IndexClosedError(ColsearchError):
    """The index was used after `close`."""


class ReadOnlyError(ColsearchError):
    """A write to an index that was opened read-only."""


class FormatError(ColsearchError):
    """An index of a format version that this release cannot read."""


class DamagedError(ColsearchError):
    """Bytes on disk that differ from those written; `colsearch check` says which."""


class StorageError(ColsearchError, OSError):
    """The operating system refused a read or a write: disk full, I/O error, no permission."""
