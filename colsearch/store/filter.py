"""`where` expressions -> SQL over the table of metadata fields; FILTERS.md states the behaviour."""

from collections.abc import Mapping
from typing import Any

from colsearch.errors import FilterError

MAX_DEPTH = 32
MAX_VALUES = 10_000
_INT64 = range(-(2**63), 2**63)
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}

Row = tuple[str, str, str | int | float]
Sql = tuple[str, list[Any]]


def field_rows(metadata: Mapping[str, Any]) -> set[Row]:
    """(path, kind, value) of every leaf: what a filter can find.

    Kinds: "n" number, "s" string, "b" boolean, "0" null, "e" an empty list or mapping. A list's elements
    all stand under the path of the list.
    """
    rows: set[Row] = set()
    stack: list[tuple[str, Any]] = [(str(key), value) for key, value in metadata.items()]
    while stack:
        path, value = stack.pop()
        if isinstance(value, Mapping) and value:
            stack += [(f"{path}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple) and value:
            stack += [(path, inner) for inner in value]
        else:
            rows.add((path, *_typed(value)))
    return rows


def _typed(value: Any) -> tuple[str, str | int | float]:
    if value is None:
        return "0", 0
    if isinstance(value, bool):
        return "b", int(value)
    if isinstance(value, int):
        # SQLite's integers have 64 bits; beyond that a double is the nearest it can compare.
        return "n", value if value in _INT64 else float(value)
    if isinstance(value, float):
        return "n", value
    if isinstance(value, str):
        return "s", value
    return "e", 0


def compile_where(where: Mapping[str, Any]) -> Sql:
    """SQL for the doc_nos that match, with its bound parameters.

    Raises: FilterError: naming the operator or value that is wrong.
    """
    return _expression(where, 0)


def _expression(where: Any, depth: int) -> Sql:
    if depth > MAX_DEPTH:
        raise FilterError(f"where is nested more than {MAX_DEPTH} levels deep")
    if not isinstance(where, Mapping) or not where:
        raise FilterError(f"where is a mapping such as {{'year': {{'$gte': 2020}}}}, not {where!r:.80}")
    return _all(
        [
            _logical(str(key), value, depth) if str(key).startswith("$") else _field(str(key), value, depth)
            for key, value in where.items()
        ]
    )


def _logical(operator: str, value: Any, depth: int) -> Sql:
    if operator == "$not":
        return _negated(_expression(value, depth + 1))
    if operator not in ("$and", "$or"):
        raise FilterError(f"unknown operator {operator!r}; use $and, $or, $not, or a field's name")
    if not isinstance(value, list | tuple) or not value:
        raise FilterError(f"{operator} takes a non-empty list of expressions, not {value!r:.80}")
    parts = [_expression(part, depth + 1) for part in value]
    return _all(parts) if operator == "$and" else _any(parts)


def _field(path: str, condition: Any, depth: int) -> Sql:
    if isinstance(condition, Mapping):
        if not condition:
            raise FilterError(f"the condition on {path!r} is empty")
        return _all([_condition(path, str(key), value, depth) for key, value in condition.items()])
    if isinstance(condition, list | tuple):
        raise FilterError(f"{path!r} is compared with a list; use {{'$in': [...]}}")
    return _equal(path, condition)


def _condition(path: str, operator: str, value: Any, depth: int) -> Sql:
    if operator == "$eq":
        return _equal(path, value)
    if operator == "$ne":
        return _negated(_equal(path, value))
    if operator in ("$in", "$nin"):
        if not isinstance(value, list | tuple | set | frozenset) or not value or len(value) > MAX_VALUES:
            raise FilterError(f"{operator} on {path!r} takes a list of 1 to {MAX_VALUES} values")
        found = _one_of(path, [_scalar(path, v) for v in value])
        return found if operator == "$in" else _negated(found)
    if operator == "$exists":
        if not isinstance(value, bool):
            raise FilterError(f"$exists on {path!r} takes True or False, not {value!r:.80}")
        inside = (
            "SELECT doc_no FROM fields WHERE path = ? OR (path >= ? AND path < ?)",
            [path, path + ".", path + "/"],
        )
        return inside if value else _negated(inside)
    if operator == "$not":
        return _negated(_field(path, value, depth + 1))
    if operator not in _COMPARISONS:
        known = ", ".join(["$eq", "$ne", *_COMPARISONS, "$in", "$nin", "$exists", "$not"])
        raise FilterError(f"unknown operator {operator!r} on {path!r}; use one of {known}")
    kind, bound = _scalar(path, value)
    if kind not in "ns":
        raise FilterError(f"{operator} on {path!r} compares numbers or strings, not {value!r:.80}")
    sql = f"SELECT doc_no FROM fields WHERE path = ? AND kind = ? AND value {_COMPARISONS[operator]} ?"
    return sql, [path, kind, bound]


def _equal(path: str, value: Any) -> Sql:
    return "SELECT doc_no FROM fields WHERE path = ? AND kind = ? AND value = ?", [
        path,
        *_scalar(path, value),
    ]


def _one_of(path: str, values: list[tuple[str, str | int | float]]) -> Sql:
    pairs = ",".join("(?,?)" for _ in values)
    sql = f"SELECT doc_no FROM fields WHERE path = ? AND (kind, value) IN (VALUES {pairs})"
    return sql, [path, *(part for pair in values for part in pair)]


def _scalar(path: str, value: Any) -> tuple[str, str | int | float]:
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if value is not None and not isinstance(value, bool | int | float | str):
        raise FilterError(
            f"{path!r} is compared with {value!r:.80}; use a string, number, True, False or None"
        )
    if isinstance(value, float) and value != value:
        raise FilterError(f"{path!r} is compared with NaN, which equals nothing")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise FilterError(f"{path!r} is compared with a lone surrogate") from None
    return _typed(value)


def _negated(inner: Sql) -> Sql:
    return f"SELECT doc_no FROM documents WHERE doc_no NOT IN ({inner[0]})", inner[1]


def _all(parts: list[Sql]) -> Sql:
    return _nested("AND", parts)


def _any(parts: list[Sql]) -> Sql:
    return _nested("OR", parts)


def _nested(word: str, parts: list[Sql]) -> Sql:
    if len(parts) == 1:
        return parts[0]
    tests = f" {word} ".join(f"doc_no IN ({sql})" for sql, _ in parts)
    return f"SELECT doc_no FROM documents WHERE {tests}", [value for _, values in parts for value in values]
