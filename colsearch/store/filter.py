"""Translating `where` expressions into SQL; docs/FILTERS.md states the behaviour.

This module owns the text of that SELECT and what a row of `fields` says; `tables` runs it, and stores
the rows.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from colsearch.errors import FilterError

MAX_DEPTH = 32
# SQLite takes 500 terms in a UNION and 32,766 bound values in a statement.
MAX_CONDITIONS = 256
MAX_VALUES = 10_000
MAX_CHARACTERS = 1 << 20
_INT64 = range(-(2**63), 2**63)
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}

Row: TypeAlias = tuple[str, str, str | int | float]
Sql: TypeAlias = tuple[str, list[Any]]
# The name of a step, which is a SELECT of the doc_nos that match one part of the expression.
_Step: TypeAlias = str


def field_rows(metadata: Mapping[str, Any]) -> set[Row]:
    """(path, kind, value) of every leaf of a document's metadata: what a filter can find.

    Kinds: "n" number, "s" string, "b" boolean, "0" null, "e" an empty list or mapping. All elements of a list
    have the path of the list.
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
        return "n", value if value in _INT64 else _double(value)
    if isinstance(value, float):
        return "n", value
    if isinstance(value, str):
        return "s", value
    return "e", 0


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def compile_where(where: Mapping[str, Any]) -> Sql:
    """A SELECT of the doc_nos that match, and the values that it binds.

    Raises: FilterError: naming the operator or value that is wrong, or the limit that is passed.
    """
    steps = _Steps()
    last = _expression(steps, where, 0)
    named = ", ".join(f"{name} AS ({sql})" for name, sql in steps.selects.items())
    return f"WITH {named} SELECT doc_no FROM {last}", steps.values


class _Steps:
    """The parts of an expression, side by side in one WITH clause.

    As subqueries inside one another, three levels would overflow SQLite's parser.

    Attributes:
        selects: name -> SELECT of each step, those that it refers to first.
        values: bound values of all steps, in the same order.
    """

    def __init__(self) -> None:
        self.selects: dict[_Step, str] = {}
        self.values: list[Any] = []

    def add(self, select: str, values: Sequence[Any] = ()) -> _Step:
        """Append a SELECT of doc_nos.

        Raises: FilterError: if the expression is too large for SQLite.
        """
        if len(self.selects) >= MAX_CONDITIONS:
            raise FilterError(
                f"where has more than {MAX_CONDITIONS} conditions; use $in for many values of a field"
            )
        self.values += values
        if len(self.values) > 2 * MAX_VALUES:
            raise FilterError(f"where compares with more than {MAX_VALUES} values; split the search")
        name = f"step{len(self.selects)}"
        self.selects[name] = select
        return name

    def negated(self, step: _Step) -> _Step:
        """The documents that a step does not match."""
        return self.add(f"SELECT doc_no FROM documents WHERE doc_no NOT IN {step}")

    def all_of(self, steps: list[_Step]) -> _Step:
        """The documents that every one of these steps matches."""
        if len(steps) == 1:
            return steps[0]
        tests = " AND ".join(f"doc_no IN {step}" for step in steps)
        return self.add(f"SELECT doc_no FROM documents WHERE {tests}")

    def any_of(self, steps: list[_Step]) -> _Step:
        """The documents that at least one of these steps matches."""
        if len(steps) == 1:
            return steps[0]
        # A chain of OR would try up to 500 steps per document: 12 s were measured where UNION takes 0.1 s.
        return self.add(" UNION ".join(f"SELECT doc_no FROM {step}" for step in steps))


def _expression(steps: _Steps, where: Any, depth: int) -> _Step:
    if depth > MAX_DEPTH:
        raise FilterError(f"where is nested more than {MAX_DEPTH} levels deep")
    if not isinstance(where, Mapping) or not where:
        raise FilterError(f"where is a mapping such as {{'year': {{'$gte': 2020}}}}, not {_shown(where)}")
    conditions = []
    for key, value in where.items():
        if not isinstance(key, str):
            raise FilterError(f"a field's name is a string, not {_shown(key)}")
        translate = _logical if key.startswith("$") else _field
        conditions.append(translate(steps, key, value, depth))
    return steps.all_of(conditions)


def _logical(steps: _Steps, operator: str, value: Any, depth: int) -> _Step:
    if operator == "$not":
        return steps.negated(_expression(steps, value, depth + 1))
    if operator not in ("$and", "$or"):
        raise FilterError(f"unknown operator {operator[:80]!r}; use $and, $or, $not, or a field's name")
    if not isinstance(value, list | tuple) or not value:
        raise FilterError(f"{operator} takes a non-empty list of expressions, not {_shown(value)}")
    expressions = [_expression(steps, expression, depth + 1) for expression in value]
    return steps.all_of(expressions) if operator == "$and" else steps.any_of(expressions)


def _field(steps: _Steps, path: str, condition: Any, depth: int) -> _Step:
    if depth > MAX_DEPTH:
        raise FilterError(f"where is nested more than {MAX_DEPTH} levels deep")
    _check_text("a field's name", path)
    if isinstance(condition, Mapping):
        if not condition:
            raise FilterError(f"the condition on {path!r} is empty")
        return steps.all_of(
            [_condition(steps, path, str(key), value, depth) for key, value in condition.items()]
        )
    if isinstance(condition, list | tuple):
        raise FilterError(f"{path!r} is compared with a list; use {{'$in': [...]}}")
    return _one_of(steps, path, [condition])


def _condition(steps: _Steps, path: str, operator: str, value: Any, depth: int) -> _Step:
    if operator == "$eq":
        return _one_of(steps, path, [value])
    if operator == "$ne":
        return steps.negated(_one_of(steps, path, [value]))
    if operator in ("$in", "$nin"):
        if not isinstance(value, list | tuple | set | frozenset) or not 1 <= len(value) <= MAX_VALUES:
            raise FilterError(f"{operator} on {path!r} takes a list of 1 to {MAX_VALUES} values")
        among = _one_of(steps, path, value)
        return among if operator == "$in" else steps.negated(among)
    if operator == "$exists":
        if not isinstance(value, bool):
            raise FilterError(f"$exists on {path!r} takes True or False, not {_shown(value)}")
        # Paths inside a mapping go on with a dot, and "/" is the character behind the dot.
        existing = steps.add(
            "SELECT doc_no FROM fields WHERE path = ? OR (path >= ? AND path < ?)",
            [path, path + ".", path + "/"],
        )
        return existing if value else steps.negated(existing)
    if operator == "$not":
        return steps.negated(_field(steps, path, value, depth + 1))
    if operator not in _COMPARISONS:
        operators = ", ".join(["$eq", "$ne", *_COMPARISONS, "$in", "$nin", "$exists", "$not"])
        raise FilterError(f"unknown operator {operator[:80]!r} on {path!r}; use one of {operators}")
    kind, bound = _scalar(path, value)
    if kind not in "ns":
        raise FilterError(f"{operator} on {path!r} compares numbers or strings, not {_shown(value)}")
    select = f"SELECT doc_no FROM fields WHERE path = ? AND kind = ? AND value {_COMPARISONS[operator]} ?"
    return steps.add(select, [path, kind, bound])


def _one_of(steps: _Steps, path: str, values: Any) -> _Step:
    by_kind: dict[str, list[Any]] = {}
    for value in values:
        kind, bound = _scalar(path, value)
        by_kind.setdefault(kind, []).append(bound)
    # One search of the primary key (path, kind, value) per kind; IN over pairs would read the whole path.
    selects, bounds = [], []
    for kind, values_of_kind in by_kind.items():
        marks = ",".join("?" * len(values_of_kind))
        selects.append(f"SELECT doc_no FROM fields WHERE path = ? AND kind = ? AND value IN ({marks})")
        bounds += [path, kind, *values_of_kind]
    return steps.add(" UNION ALL ".join(selects), bounds)


def _scalar(path: str, value: Any) -> tuple[str, str | int | float]:
    if hasattr(value, "item") and not isinstance(value, str) and getattr(value, "size", 1) == 1:
        value = value.item()
    if value is not None and not isinstance(value, bool | int | float | str):
        raise FilterError(
            f"{path!r} is compared with {_shown(value)}; use a string, number, True, False or None"
        )
    if isinstance(value, float) and value != value:
        raise FilterError(f"{path!r} is compared with NaN, which equals nothing")
    if isinstance(value, str):
        _check_text(f"the value for {path!r}", value)
    kind, bound = _typed(value)
    if isinstance(value, int) and isinstance(bound, float) and math.isinf(bound):
        raise FilterError(f"{path!r} is compared with an integer that no number field can hold")
    return kind, bound


def _check_text(what: str, text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise FilterError(f"{what} has {len(text)} characters; at most {MAX_CHARACTERS}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise FilterError(f"{what} holds a lone surrogate") from None


def _shown(value: Any) -> str:
    """A short form of a value for a message; a container is not walked through, because it may be huge."""
    if isinstance(value, str | bool | float | None):
        return f"{value!r:.80}" if not isinstance(value, str) else repr(value[:80])
    return type(value).__name__
