"""Validation of REST answers.

An answer has the form that was asked for, or becomes a :class:`RestError`.

An unusable row is isolated where the answer is sound: one that is not an object becomes an empty row, which readers of rows report, and
the others stay usable. Whatever ends a page, or assigns a row to a record, is never guessed.

Source: REST API Developer Guide, "Query", "Get Deleted", "Get Records Using sObject Collections", "Limits", "Versions".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from consumer.clock import parse_iso_ms
from consumer.domain.record_ids import canonical_id, to_18
from consumer.errors import CadenceError
from consumer.ports.salesforce import DeletedLog
from consumer.salesforce.error_catalogue import one_line

__all__ = [
    "QueryPage",
    "RestError",
    "deleted_log",
    "limits",
    "query_page",
    "rest_error",
    "row_count",
    "rows_by_id",
    "versions",
]

_VERSION: Final = re.compile(r"[0-9]{1,3}\.[0-9]")
_LATEST_MS: Final = 253_402_300_799_999
"""End of the year 9999."""
_MAX_TEXT: Final = 500
"""Characters of Salesforce's message that are kept of an error."""


class RestError(CadenceError):
    """Failure of a REST request.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        code: Salesforce's ``errorCode``, as in ``INVALID_FIELD``, or ``unreachable``.
        performed: False when Salesforce certainly did not perform the request; None when that is unknown.
    """

    def __init__(
        self, request: str, status: int, code: str, message: str, *, performed: bool | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.performed = performed
        super().__init__(f"{request} failed ({code}, HTTP {status}): {message}")


@dataclass(frozen=True, slots=True)
class QueryPage:
    """Page of a query.

    Attributes:
        records: rows as received; one that is not an object is empty.
        next_url: URL of the next page, not validated; None after the last.
    """

    records: list[dict[str, Any]]
    next_url: str | None


def rest_error(request: str, status: int, answer: Any) -> RestError:
    """Build the error for an unexpected answer.

    Args:
        request: description of the request for people.
        status: HTTP status.
        answer: the body's JSON, or None.
    """
    first = answer[0] if isinstance(answer, list) and answer and isinstance(answer[0], dict) else {}
    code, message = first.get("errorCode"), first.get("message")
    return RestError(
        request,
        status,
        one_line(code, 60) if isinstance(code, str) and code else "no_error_code",
        one_line(message, _MAX_TEXT)
        if isinstance(message, str)
        else "the answer is not from Salesforce's REST API",
        # A request that Salesforce rejects as invalid, or refuses, was not performed; one that failed internally may have been.
        performed=False if 400 <= status < 500 and status != 408 else None,
    )


def query_page(request: str, answer: Any, *, isolated: bool = False) -> QueryPage:
    """Read a page of ``query`` or ``queryAll``.

    Args:
        request: description of the request for people.
        answer: the body's JSON.
        isolated: whether a row that is not an object becomes an empty one, for a caller that reports it.

    Raises:
        RestError: the answer is not a page, or names no next page although it is not the last.
    """
    page = answer if isinstance(answer, dict) else {}
    records, done, next_url = page.get("records"), page.get("done"), page.get("nextRecordsUrl")
    if not isinstance(records, list) or not (done is True or isinstance(next_url, str)):
        raise rest_error(request, 200, answer)
    if not isolated and not all(isinstance(row, dict) for row in records):
        raise rest_error(request, 200, answer)
    rows = [row if isinstance(row, dict) else {} for row in records]
    return QueryPage(rows, None if done is True else next_url)


def row_count(request: str, answer: Any) -> int:
    """Read ``totalSize`` of the answer to ``SELECT COUNT()``.

    Raises:
        RestError: the answer has none.
    """
    size = answer.get("totalSize") if isinstance(answer, dict) else None
    if not _is_integer(size) or size < 0:
        raise rest_error(request, 200, answer)
    return size


def limits(request: str, answer: Any) -> dict[str, tuple[int, int]]:
    """Read limits: name to (maximum, remaining); limits without both are left out.

    Raises:
        RestError: the answer is not an object.
    """
    if not isinstance(answer, dict):
        raise rest_error(request, 200, answer)
    return {
        name: (each["Max"], each["Remaining"])
        for name, each in answer.items()
        if isinstance(each, dict) and _is_integer(each.get("Max")) and _is_integer(each.get("Remaining"))
    }


def versions(request: str, answer: Any) -> list[str]:
    """Read the API versions, oldest first.

    Raises:
        RestError: the answer names none.
    """
    listed = (
        [each.get("version") for each in answer if isinstance(each, dict)] if isinstance(answer, list) else []
    )
    known = sorted((item for item in listed if isinstance(item, str) and _VERSION.fullmatch(item)), key=float)
    if not known:
        raise rest_error(request, 200, answer)
    return known


def rows_by_id(request: str, ids: Sequence[str], answer: Any) -> dict[str, dict[str, Any]]:
    """Match rows to the requested ids; the answer has a row or null for each.

    A row that is not an object, or has the id of another record, becomes empty: the record exists, and nothing usable is known of it.

    Raises:
        RestError: the answer has not one element for each id, or no usable one.
    """
    if not isinstance(answer, list) or len(answer) != len(ids):
        raise rest_error(request, 200, answer)
    if any(row is not None for row in answer) and not any(isinstance(row, dict) for row in answer):
        raise rest_error(request, 200, answer)
    return {
        record_id: row if isinstance(row, dict) and _is_of(record_id, row) else {}
        for record_id, row in zip(ids, answer, strict=True)
        if row is not None
    }


def deleted_log(request: str, answer: Any) -> DeletedLog:
    """Read the answer of ``getDeleted``.

    Raises:
        RestError: the answer has no list of deleted records, or no usable entry in it.
    """
    entries = answer.get("deletedRecords") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise rest_error(request, 200, answer)
    records: list[tuple[int, str]] = []
    unreadable: list[tuple[str, str]] = []
    for entry in entries:
        found = entry if isinstance(entry, dict) else {}
        try:
            records.append((_instant_ms(found.get("deletedDate")), canonical_id(str(found.get("id")))))
        except ValueError as error:
            unreadable.append((one_line(str(found.get("id")), 40), one_line(str(error), 200)))
    if unreadable and not records:
        raise rest_error(request, 200, answer)
    return DeletedLog(sorted(records), tuple(unreadable))


def _instant_ms(text: Any) -> int:
    if not isinstance(text, str):
        raise ValueError("deletedDate is not a string")  # noqa: TRY004 - a bad entry
    at_ms = parse_iso_ms(text)
    if not 0 <= at_ms <= _LATEST_MS:
        raise ValueError("deletedDate is out of range")
    return at_ms


def _is_of(record_id: str, row: Mapping[str, Any]) -> bool:
    told = row.get("Id", record_id)
    if told == record_id:
        return True
    try:
        return isinstance(told, str) and to_18(told) == to_18(record_id)
    except ValueError:
        return False


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
