"""REST client of Salesforce: queries and calls with the shared access token.

After an invalid-session answer the token is renewed and the request repeated, once; all other failures are left to the caller.
Source: REST API Developer Guide, "Query" and "Status Codes and Error Responses".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from consumer.actions.client import CLIENT
from consumer.clock import iso
from consumer.domain.record_ids import is_record_id
from consumer.domain.soql import ACTIVE_RUNS
from consumer.ports.salesforce import DeletedLog, RecordPage
from consumer.salesforce import rest_answers
from consumer.salesforce.bayeux import http_date_ms
from consumer.salesforce.http_exchange import HttpAnswer, HttpFault, exchange, parse_json
from consumer.salesforce.rest_answers import RestError, rest_error
from consumer.salesforce.token_cache import TokenCache

__all__ = ["RestClient", "RestError", "rest_error"]

_MINUTE_MS = 60_000
_MAX_IDS = 2_000
"""Maximum number of ids per request (documented)."""
_MAX_BYTES = 16 * 1024 * 1024
"""Maximum size of an answer; 2,000 rows of either object have two or three megabytes."""
_MAX_PAGES = 1_000
_MAX_ROWS = 200_000
"""Maximum number of rows of a query over all pages."""
_ROWS = "POST /composite/sobjects"
_UNREACHABLE = frozenset({"unreachable", "timeout", "truncated", "bad_request"})
"""Faults of the connection, which are the same to callers: no answer arrived."""


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
        request = "GET /query"
        path: str | None = f"/services/data/v{self._api_version}/query?q={quote(soql)}"
        records: list[dict[str, Any]] = []
        read: set[str] = set()
        while path is not None:
            read.add(path)
            page = rest_answers.query_page(request, await self._fetch_json("GET", path))
            records += page.records
            path = page.next_url
            if path in read:
                raise RestError(request, 200, "no_progress", "the next page is one that was read already")
            if path is not None and (len(read) >= _MAX_PAGES or len(records) > _MAX_ROWS):
                raise RestError(request, 200, "too_many_rows", f"more than {len(records)} rows")
        return records

    async def count(self, soql: str) -> int:
        """Query the number of records that ``SELECT COUNT() …`` finds; one request.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        answer = await self._fetch_json("GET", f"/services/data/v{self._api_version}/query?q={quote(soql)}")
        return rest_answers.row_count("GET /query", answer)

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
        return rest_answers.limits("GET /limits", answer)

    async def versions(self) -> list[str]:
        """Query the API versions of the org, oldest first, as in ``66.0``; one request.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        return rest_answers.versions("GET /services/data", await self._fetch_json("GET", "/services/data/"))

    async def rows(self, entity: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Fetch the rows of ``ids`` that exist and are visible: id to fields.

        Accepts any number of ids.

        Raises:
            RestError: Salesforce refused, or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), _MAX_IDS):
            answer, _, batch = await self._fetch_rows(entity, ids[start : start + _MAX_IDS], fields)
            found.update(rest_answers.rows_by_id(_ROWS, batch, answer))
        return found

    async def page(self, soql: str) -> RecordPage:
        """Query the first page of ``soql``, including the recycle bin (``queryAll``).

        Raises:
            RestError: Salesforce refused, did not answer, or the answer has no ``Date``.
            AuthenticationFailed: no token could be obtained.
        """
        path = f"/services/data/v{self._api_version}/queryAll?q={quote(soql)}"
        answer, server_ms = await self._fetch_json_dated("GET", path)
        page = rest_answers.query_page("GET /queryAll", answer, isolated=True)
        return RecordPage(page.records, server_ms, page.next_url is None)

    async def deleted(self, entity: str, since_ms: int, until_ms: int) -> DeletedLog:
        """Query the delete log between two times.

        The log includes records that have left the recycle bin. Salesforce rounds to whole minutes, so deletions up to a minute before or
        after may be included. Source: REST API Developer Guide, "Get Deleted"; it reaches back 15 days.

        Raises:
            RestError: Salesforce refused (``INVALID_REPLICATION_DATE``: too long ago), or did not answer.
            AuthenticationFailed: no token could be obtained.
        """
        start, end = (quote(iso(at_ms)) for at_ms in (since_ms, until_ms + 2 * _MINUTE_MS))
        path = f"/services/data/v{self._api_version}/sobjects/{entity}/deleted/?start={start}&end={end}"
        return rest_answers.deleted_log("GET /deleted", await self._fetch_json("GET", path))

    async def rows_with_time(
        self, entity: str, ids: Sequence[str], fields: Sequence[str]
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """Fetch up to 2,000 rows as :meth:`rows`, with Salesforce's time in milliseconds.

        Raises:
            RestError: Salesforce refused, did not answer, or the answer has no ``Date``.
            AuthenticationFailed: no token could be obtained.
        """
        answer, server_ms, batch = await self._fetch_rows(entity, ids[:_MAX_IDS], fields)
        return rest_answers.rows_by_id(_ROWS, batch, answer), _dated(_ROWS, server_ms)

    async def _fetch_rows(
        self, entity: str, ids: Sequence[str], fields: Sequence[str]
    ) -> tuple[Any, int | None, list[str]]:
        """Fetch rows.

        Returns the answer, Salesforce's time, and the ids asked for, which are record ids.
        """
        path = f"/services/data/v{self._api_version}/composite/sobjects/{entity}"
        batch = [record_id for record_id in ids if is_record_id(record_id)]
        payload = {"ids": batch, "fields": list(fields)}
        answer, server_ms = await self._fetch_json_reply("POST", path, payload)
        return answer, server_ms, batch

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
        return reply.status, await parse_json(reply.body)

    async def _fetch_json_dated(self, method: str, path: str, payload: Any = None) -> tuple[Any, int]:
        answer, server_ms = await self._fetch_json_reply(method, path, payload)
        return answer, _dated(f"{method} {path.partition('?')[0]}", server_ms)

    async def _fetch_json(self, method: str, path: str, payload: Any = None) -> Any:
        return (await self._fetch_json_reply(method, path, payload))[0]

    async def _fetch_json_reply(self, method: str, path: str, payload: Any) -> tuple[Any, int | None]:
        """Send a repeatable request; return its JSON and Salesforce's time (milliseconds)."""
        reply = await self._request_authorized(method, path, payload, CLIENT)
        answer = await parse_json(reply.body)
        if reply.status == 200 and isinstance(answer, dict | list):
            return answer, http_date_ms(reply.headers.get("Date"))
        raise rest_error(f"{method} {path.partition('?')[0]}", reply.status, answer)

    async def _request_authorized(self, method: str, path: str, payload: Any, client: str) -> HttpAnswer:
        """Send a request, renewing an expired token once.

        Salesforce does not process a request with an expired token. ``path`` may be one that an answer named: it is joined to the origin
        of the token before the token is attached.
        """
        for attempt in (1, 2):
            token = await self._tokens.token()
            try:
                url = token.origin.join(path)
            except ValueError as error:
                raise RestError(f"{method} of a URL", 0, "foreign_url", str(error), performed=False) from None
            headers = {"Authorization": token.authorization, "Sforce-Call-Options": f"client={client}"}
            reply = await self._request(method, url, headers, payload)
            if reply.status == 401 and attempt == 1:
                self._tokens.invalidate(token)
                continue
            break
        return reply

    async def _request(self, method: str, url: str, headers: dict[str, str], payload: Any) -> HttpAnswer:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
        data = None
        if payload is not None:
            headers = {**headers, "Content-Type": "application/json"}
            data = orjson.dumps(payload)
        try:
            return await exchange(self._http, method, url, max_bytes=_MAX_BYTES, headers=headers, data=data)
        except HttpFault as fault:
            request = f"{method} {url.partition('?')[0]}"
            code = "unreachable" if fault.code in _UNREACHABLE else fault.code
            performed = False if fault.unsent else None
            raise RestError(request, 0, code, fault.detail, performed=performed) from fault


def _dated(request: str, server_ms: int | None) -> int:
    if server_ms is None:
        raise RestError(
            request, 200, "no_date", "the answer has no usable Date header, so its age is unknown"
        )
    return server_ms
