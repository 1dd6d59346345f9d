"""REST client of Salesforce: queries and calls with the shared access token.

After an invalid-session answer the token is renewed and the request repeated, once; all other failures are left to the caller.
Source: REST API Developer Guide, "Query" and "Status Codes and Error Responses".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from consumer.actions.client import CLIENT
from consumer.clock import iso, parse_iso_ms
from consumer.errors import CadenceError
from consumer.ports.salesforce import RecordPage
from consumer.safe_json import parse
from consumer.salesforce.bayeux import http_date_ms
from consumer.salesforce.soql import ACTIVE_RUNS
from consumer.salesforce.token_cache import TokenCache

__all__ = ["RestClient", "RestError", "rest_error"]

_MINUTE_MS = 60_000
_MAX_IDS = 2_000
"""Maximum number of ids per request (documented)."""
_VERSION = re.compile(r"\d+\.\d")


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    server_ms: int | None


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


class RestClient:
    """Client of Salesforce's REST API.

    Args:
        tokens: token cache shared with streaming.
        api_version: as in ``66.0``.
        timeout_ms: timeout of one request in milliseconds.
    """

    def __init__(self, tokens: TokenCache, *, api_version: str, timeout_ms: int = 30_000) -> None:
        self._tokens = tokens
        self._api_version = api_version
        self._timeout = aiohttp.ClientTimeout(total=timeout_ms / 1000)
        self._http: aiohttp.ClientSession | None = None

    async def query(self, soql: str) -> list[dict[str, Any]]:
        """Query every record that ``soql`` selects, over all pages.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        path: str | None = f"/services/data/v{self._api_version}/query?q={quote(soql)}"
        records: list[dict[str, Any]] = []
        while path is not None:
            page = await self._fetch_json("GET", path)
            records += _records("GET /query", page)
            next_path = None if page.get("done") else page.get("nextRecordsUrl")
            if page.get("done") is not True and (not isinstance(next_path, str) or next_path == path):
                raise rest_error("GET /query", 200, page)
            path = next_path
        return records

    async def count(self, soql: str) -> int:
        """Query the number of records that ``SELECT COUNT() …`` finds; one request.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        answer = await self._fetch_json("GET", f"/services/data/v{self._api_version}/query?q={quote(soql)}")
        size = answer.get("totalSize") if isinstance(answer, dict) else None
        if not isinstance(size, int):
            raise rest_error("GET /query", 200, answer)
        return size

    async def active_runs(self) -> int:
        """Query the number of active runs in the org; one request."""
        return await self.count(f"SELECT COUNT() {ACTIVE_RUNS}")

    async def limits(self) -> dict[str, tuple[int, int]]:
        """Query the org's limits: name to (maximum, remaining); one request.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        answer = await self._fetch_json("GET", f"/services/data/v{self._api_version}/limits")
        return {
            name: (limit["Max"], limit["Remaining"])
            for name, limit in (answer.items() if isinstance(answer, dict) else ())
            if isinstance(limit, dict)
            and isinstance(limit.get("Max"), int)
            and isinstance(limit.get("Remaining"), int)
        }

    async def versions(self) -> list[str]:
        """Query the API versions of the org, oldest first, as in ``66.0``; one request.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        answer = await self._fetch_json("GET", "/services/data/")
        listed = [str(entry.get("version")) for entry in answer if isinstance(entry, dict)]
        versions = sorted((version for version in listed if _VERSION.fullmatch(version)), key=float)
        if not versions:
            raise rest_error("GET /services/data", 200, answer)
        return versions

    async def rows(self, entity: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Fetch the rows of ``ids`` that exist and are visible: id to fields.

        Accepts any number of ids.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), _MAX_IDS):
            batch = list(ids[start : start + _MAX_IDS])
            path = f"/services/data/v{self._api_version}/composite/sobjects/{entity}"
            found.update(
                _rows_by_id(
                    batch, await self._fetch_json("POST", path, {"ids": batch, "fields": list(fields)})
                )
            )
        return found

    async def page(self, soql: str) -> RecordPage:
        """Query the first page of ``soql``, including the recycle bin (``queryAll``).

        Raises:
            RestError: Salesforce refused, did not answer, or the answer has no ``Date``.
            AuthenticationFailed: no token could be obtained.
        """
        path = f"/services/data/v{self._api_version}/queryAll?q={quote(soql)}"
        answer, server_ms = await self._fetch_json_dated("GET", path)
        return RecordPage(_records("GET /queryAll", answer), server_ms)

    async def deleted(self, entity: str, since_ms: int, until_ms: int) -> list[tuple[int, str]]:
        """Query the delete log between two times.

        The log includes records that have left the recycle bin. Salesforce rounds to whole minutes, so deletions up to a minute before or
        after may be included. Source: REST API Developer Guide, "Get Deleted"; it reaches back 15 days.

        Returns:
            Time of deletion in milliseconds and record id of each, ascending.

        Raises:
            RestError: Salesforce refused (``INVALID_REPLICATION_DATE``: too long ago), or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        start, end = (quote(iso(at_ms)) for at_ms in (since_ms, until_ms + 2 * _MINUTE_MS))
        path = f"/services/data/v{self._api_version}/sobjects/{entity}/deleted/?start={start}&end={end}"
        answer = await self._fetch_json("GET", path)
        try:
            return sorted(
                (parse_iso_ms(item["deletedDate"]), str(item["id"])) for item in answer["deletedRecords"]
            )
        except (KeyError, TypeError, ValueError):
            raise rest_error("GET /deleted", 200, answer) from None

    async def rows_with_time(
        self, entity: str, ids: Sequence[str], fields: Sequence[str]
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """Fetch up to 2,000 rows as :meth:`rows`, with Salesforce's time in milliseconds.

        Raises:
            RestError: Salesforce refused, did not answer, or the answer has no ``Date``.
            AuthenticationFailed: no token could be obtained.
        """
        path = f"/services/data/v{self._api_version}/composite/sobjects/{entity}"
        batch = list(ids[:_MAX_IDS])
        rows, server_ms = await self._fetch_json_dated("POST", path, {"ids": batch, "fields": list(fields)})
        return _rows_by_id(batch, rows), server_ms

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()

    async def post(self, path: str, payload: Any, *, client: str = CLIENT) -> tuple[int, Any]:
        """POST a request that may not be repeatable.

        An expired token is renewed once; any other failure is final.

        Args:
            path: path below ``/services/data/vXX.X``.
            payload: the body.
            client: client name that signs the call, found again in ``changeOrigin``.

        Returns:
            HTTP status and the body's JSON, or None where it is not JSON.

        Raises:
            RestError: no answer, or no complete one, arrived; see ``performed``.
            AuthenticationFailed: no token could be obtained.
        """
        path = f"/services/data/v{self._api_version}{path}"
        reply = await self._request_authorized("POST", path, payload, client)
        return reply.status, parse(reply.body)

    async def _fetch_json_dated(self, method: str, path: str, payload: Any = None) -> tuple[Any, int]:
        answer, server_ms = await self._fetch_json_reply(method, path, payload)
        if server_ms is None:
            request = f"{method} {path.partition('?')[0]}"
            raise RestError(request, 200, "no_date", "the answer has no Date header, so its age is unknown")
        return answer, server_ms

    async def _fetch_json(self, method: str, path: str, payload: Any = None) -> Any:
        return (await self._fetch_json_reply(method, path, payload))[0]

    async def _fetch_json_reply(self, method: str, path: str, payload: Any) -> tuple[Any, int | None]:
        """Send a repeatable request; return its JSON and Salesforce's time (milliseconds)."""
        reply = await self._request_authorized(method, path, payload, CLIENT)
        answer = parse(reply.body)
        if reply.status == 200 and isinstance(answer, dict | list):
            return answer, reply.server_ms
        raise rest_error(f"{method} {path.partition('?')[0]}", reply.status, answer)

    async def _request_authorized(self, method: str, path: str, payload: Any, client: str) -> _Reply:
        """Send a request, renewing an expired token once.

        Salesforce does not process a request with an expired token.
        """
        for attempt in (1, 2):
            token = await self._tokens.token()
            headers = {"Authorization": token.authorization, "Sforce-Call-Options": f"client={client}"}
            reply = await self._request(method, token.instance_url + path, headers, payload)
            if reply.status == 401 and attempt == 1:
                self._tokens.invalidate(token)
                continue
            break
        return reply

    async def _request(self, method: str, url: str, headers: dict[str, str], payload: Any) -> _Reply:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
        data = None
        if payload is not None:
            headers = {**headers, "Content-Type": "application/json"}
            data = orjson.dumps(payload)
        try:
            async with self._http.request(
                method, url, headers=headers, data=data, allow_redirects=False
            ) as answer:
                return _Reply(answer.status, await answer.read(), http_date_ms(answer.headers.get("Date")))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            request = f"{method} {url.partition('?')[0]}"
            unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            raise RestError(
                request,
                0,
                "unreachable",
                str(error) or type(error).__name__,
                performed=False if unsent else None,
            ) from error


def rest_error(request: str, status: int, answer: Any) -> RestError:
    """Build the error for an unexpected answer.

    Args:
        request: description of the request for people.
        status: HTTP status.
        answer: the body's JSON, or None.
    """
    first = answer[0] if isinstance(answer, list) and answer and isinstance(answer[0], dict) else {}
    return RestError(
        request,
        status,
        str(first.get("errorCode", "no_error_code")),
        str(first.get("message", "the answer is not from Salesforce's REST API")),
        # A request that Salesforce rejects as invalid, or refuses, was not performed; one that failed internally may have been.
        performed=False if 400 <= status < 500 and status != 408 else None,
    )


def _records(request: str, answer: Any) -> list[dict[str, Any]]:
    """Read the rows of a page.

    Raises:
        RestError: the answer is not a page.
    """
    records = answer.get("records") if isinstance(answer, dict) else None
    if not isinstance(records, list) or not all(isinstance(item, dict) for item in records):
        raise rest_error(request, 200, answer)
    return records


def _rows_by_id(ids: Sequence[str], rows: Any) -> dict[str, dict[str, Any]]:
    """Match rows to the requested ids; the answer has a row or null for each.

    Raises:
        RestError: the answer has another form.
    """
    if (
        not isinstance(rows, list)
        or len(rows) != len(ids)
        or not all(isinstance(item, dict | None) for item in rows)
    ):
        raise rest_error("POST /composite/sobjects", 200, rows)
    return {item: row for item, row in zip(ids, rows, strict=True) if row is not None}
