"""The part of SOQL that a consumer needs: select, count, filter, sort, limit.

    SELECT fields | COUNT()  FROM object
    [WHERE comparisons with AND, OR, NOT, IN lists, LIKE and dates]
    [ORDER BY field [ASC|DESC] [NULLS FIRST|LAST], …] [LIMIT n] [OFFSET n]

`parse` returns a `Query`, and `Query.run` applies it to records. Invalid queries are refused with Salesforce's error
codes. As in Salesforce, text compares without case, ids compare in their eighteen-character form and nulls sort first.
Relationship fields and aggregates other than `COUNT()` are not supported.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from consumer.sandbox.ids import to_18
from consumer.sandbox.schema import ENTITIES, read_value

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<string>'(?:[^'\\]|\\.)*')"
    r"|(?P<date>\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))?)"
    r"|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_.]*)"
    r"|(?P<sign><=|>=|!=|<>|[=<>(),]))"
)
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Record = dict[str, Any]
Reader = Callable[[Record, str], Any]
Condition = Callable[[Record, Reader], bool]


class QueryRefused(Exception):
    """A query that Salesforce would refuse, with Salesforce's error code."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query; `fields` is empty for `COUNT()`."""

    entity: str
    fields: tuple[str, ...]
    condition: Condition | None
    order: tuple[tuple[str, bool, bool], ...]
    limit: int | None
    offset: int

    def run(self, records: Iterable[Record], now: int) -> list[Record]:
        """Select and sort the matching records.

        Calculated fields depend on `now`, org time in epoch ms.
        """

        def read(record: Record, name: str) -> Any:
            return read_value(self.entity, record, name, now)

        rows = [record for record in records if self.condition is None or self.condition(record, read)]
        for name, descending, nulls_first in reversed(self.order):
            # Reverse sorting also reverses the order of nulls, so the flag compensates for it.
            present = nulls_first != descending
            rows.sort(key=lambda row, n=name, p=present: _sort_key(read(row, n), p), reverse=descending)  # type: ignore[misc]
        end = None if self.limit is None else self.offset + self.limit
        return rows[self.offset : end]


def _sort_key(value: Any, nulls_low: bool) -> tuple[bool, Any]:
    if value is None:
        return (not nulls_low, 0)
    return (nulls_low, value.casefold() if isinstance(value, str) else value)


def parse(text: str) -> Query:
    """Parse a query.

    Raises `QueryRefused` with MALFORMED_QUERY, INVALID_TYPE or INVALID_FIELD.
    """
    return _Parser(text).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[_Token] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise QueryRefused(
                    "MALFORMED_QUERY",
                    f"unexpected character at {position}: '{text[position : position + 10]}'",
                )
            kind = match.lastgroup or ""
            self._tokens.append(_Token(kind, match.group(kind)))
            position = match.end()
        self._position = 0
        self._entity = ""

    def query(self) -> Query:
        self._expect("SELECT")
        fields = self._selection()
        self._expect("FROM")
        requested = self._next_token("word").text
        entity = next((name for name in ENTITIES if name.lower() == requested.lower()), None)
        if entity is None:
            raise QueryRefused("INVALID_TYPE", f"sObject type '{requested}' is not supported.")
        self._entity = entity
        names = tuple(self._field(name) for name in fields)
        condition = self._disjunction() if self._accept("WHERE") else None
        order = self._order() if self._accept("ORDER") else ()
        limit = int(self._next_token("number").text) if self._accept("LIMIT") else None
        offset = int(self._next_token("number").text) if self._accept("OFFSET") else 0
        if self._position < len(self._tokens):
            raise QueryRefused("MALFORMED_QUERY", f"unexpected token: '{self._tokens[self._position].text}'")
        return Query(entity, names, condition, order, limit, offset)

    def _selection(self) -> list[str]:
        first = self._next_token("word")
        if first.is_word("COUNT") and self._accept_sign("("):
            self._expect_close()
            return []
        fields = [first.text]
        while self._accept_sign(","):
            fields.append(self._next_token("word").text)
        return fields

    def _disjunction(self) -> Condition:
        condition = self._conjunction()
        while self._accept("OR"):
            condition = _or(condition, self._conjunction())
        return condition

    def _conjunction(self) -> Condition:
        condition = self._term()
        while self._accept("AND"):
            condition = _and(condition, self._term())
        return condition

    def _term(self) -> Condition:
        if self._accept("NOT"):
            return _not(self._term())
        if self._accept_sign("("):
            condition = self._disjunction()
            self._expect_close()
            return condition
        name = self._field(self._next_token("word").text)
        if self._accept("NOT"):
            self._expect("IN")
            return _not(_in_list(name, self._list(name)))
        if self._accept("IN"):
            return _in_list(name, self._list(name))
        if self._accept("LIKE"):
            return _like(name, str(self._value(name)))
        sign = self._next_token("sign").text
        value = self._value(name)
        if sign == "=":
            return _in_list(name, [value])
        if sign in {"!=", "<>"}:
            return _not(_in_list(name, [value]))
        if sign not in _COMPARISONS:
            raise QueryRefused("MALFORMED_QUERY", f"unexpected token: '{sign}'")
        return _comparison(name, _COMPARISONS[sign], value)

    def _order(self) -> tuple[tuple[str, bool, bool], ...]:
        self._expect("BY")
        order: list[tuple[str, bool, bool]] = []
        while True:
            name = self._field(self._next_token("word").text)
            descending = self._accept("DESC")
            if not descending:
                self._accept("ASC")
            nulls_first = True
            if self._accept("NULLS"):
                nulls_first = not self._accept("LAST")
                if nulls_first:
                    self._expect("FIRST")
            order.append((name, descending, nulls_first))
            if not self._accept_sign(","):
                return tuple(order)

    def _list(self, name: str) -> list[Any]:
        if not self._accept_sign("("):
            raise QueryRefused("MALFORMED_QUERY", "expecting a left parenthesis after IN")
        values = [self._value(name)]
        while self._accept_sign(","):
            values.append(self._value(name))
        self._expect_close()
        return values

    def _value(self, name: str) -> Any:
        token = self._next_token("string", "date", "number", "word")
        if token.kind == "word":
            constants: dict[str, Any] = {"true": True, "false": False, "null": None}
            if token.text.lower() not in constants:
                raise QueryRefused("MALFORMED_QUERY", f"unexpected token: '{token.text}'")
            return constants[token.text.lower()]
        if token.kind == "number":
            return float(token.text)
        if token.kind == "date":
            return _date(token.text)
        return _comparable(self._entity, name, re.sub(r"\\(.)", r"\1", token.text[1:-1]))

    def _field(self, requested: str) -> str:
        for name in ENTITIES[self._entity].fields:
            if name.lower() == requested.lower():
                return name
        raise QueryRefused("INVALID_FIELD", f"No such column '{requested}' on sobject of type {self._entity}")

    def _next_token(self, *kinds: str) -> _Token:
        if self._position >= len(self._tokens):
            raise QueryRefused("MALFORMED_QUERY", "unexpected token: '<EOF>'")
        token = self._tokens[self._position]
        if token.kind not in kinds:
            raise QueryRefused("MALFORMED_QUERY", f"unexpected token: '{token.text}'")
        self._position += 1
        return token

    def _accept(self, word: str) -> bool:
        if self._position < len(self._tokens) and self._tokens[self._position].is_word(word):
            self._position += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise QueryRefused("MALFORMED_QUERY", f"expecting {word}")

    def _accept_sign(self, sign: str) -> bool:
        if self._position < len(self._tokens) and self._tokens[self._position] == _Token("sign", sign):
            self._position += 1
            return True
        return False

    def _expect_close(self) -> None:
        if not self._accept_sign(")"):
            raise QueryRefused("MALFORMED_QUERY", "expecting a right parenthesis")


def _date(text: str) -> int:
    """Convert a date or date-time literal to epoch ms; UTC without an offset."""
    instant = datetime.fromisoformat(text)
    return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp() * 1000)


def _comparable(entity: str, name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return to_18(value) or value if ENTITIES[entity].fields[name].kind == "id" else value.casefold()


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _and(left: Condition, right: Condition) -> Condition:
    return lambda record, read: left(record, read) and right(record, read)


def _or(left: Condition, right: Condition) -> Condition:
    return lambda record, read: left(record, read) or right(record, read)


def _not(inner: Condition) -> Condition:
    return lambda record, read: not inner(record, read)


def _in_list(name: str, values: list[Any]) -> Condition:
    folded = {_folded(value) for value in values}
    return lambda record, read: _folded(read(record, name)) in folded


def _comparison(name: str, compare: Callable[[Any, Any], bool], value: Any) -> Condition:
    def condition(record: Record, read: Reader) -> bool:
        actual = _folded(read(record, name))
        return actual is not None and value is not None and compare(actual, _folded(value))

    return condition


def _like(name: str, pattern: str) -> Condition:
    parts = (".*" if char == "%" else "." if char == "_" else re.escape(char) for char in pattern)
    expression = re.compile("".join(parts), re.IGNORECASE | re.DOTALL)
    return lambda record, read: expression.fullmatch(str(read(record, name) or "")) is not None
