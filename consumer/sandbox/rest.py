"""REST: query with paging, retrieve one record, retrieve many.

Every authorized answer carries `Sforce-Limit-Info`, every refusal is an array of errors with Salesforce's codes, dates
end in `+0000`. A query answers from the records at the time of its first page; later pages come from a query locator.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import orjson
from aiohttp import web

from consumer.sandbox.broken_responses import RequestHandler, json_response
from consumer.sandbox.ids import to_18
from consumer.sandbox.org import Org
from consumer.sandbox.schema import ENTITIES, rest_value
from consumer.sandbox.soql import QueryRefused, parse

_VERSIONS: Final = tuple(f"{major}.0" for major in range(45, 68))
_MAX_IDS: Final = 2_000
_MAX_URL_BYTES: Final = 16_384
_MAX_LOCATORS: Final = 64
_NOT_FOUND: Final = "The requested resource does not exist"


class RestRefusal(Exception):
    """A REST refusal: HTTP status and Salesforce's error."""

    def __init__(self, status: int, code: str, message: str, fields: list[str] | None = None) -> None:
        self.status = status
        self.body: dict[str, Any] = {"message": message, "errorCode": code}
        if fields is not None:
            self.body["fields"] = fields
        super().__init__(f"{status} {code}: {message}")


class Rest:
    """Resources under `/services/data/` over the org's records.

    Args:
        org: whose records.
        user_of: maps an `Authorization` header to a user's id, or to None if the token is not valid.
        batch_size: limit of rows per page.
        daily_requests: limit of requests.
        answer_ms: delay of each answer.
    """

    def __init__(
        self,
        org: Org,
        *,
        user_of: Callable[[str], str | None],
        batch_size: int = 2_000,
        daily_requests: int = 100_000,
        answer_ms: int = 0,
    ) -> None:
        self._org = org
        self._user_of = user_of
        self._batch_size = batch_size
        self._daily_requests = daily_requests
        self._answer_ms = answer_ms
        self._locators: OrderedDict[str, tuple[str, tuple[str, ...], list[dict[str, Any]]]] = OrderedDict()
        self.requests = 0

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Mount the resources."""
        data = "/services/data/v{version:[0-9]+[.][0-9]}"
        router.add_get("/services/data", self.versions)
        router.add_get("/services/data/", self.versions)
        for path, handler in (
            (f"{data}/query", self.authorized(self.query)),
            (f"{data}/query/", self.authorized(self.query)),
            (f"{data}/queryAll", self.authorized(self.query_all)),
            (f"{data}/queryAll/", self.authorized(self.query_all)),
            (f"{data}/query/{{locator}}", self.authorized(self.query_more)),
            (f"{data}/queryAll/{{locator}}", self.authorized(self.query_more)),
            (f"{data}/sobjects/{{entity}}/{{id}}", self.authorized(self.retrieve)),
        ):
            router.add_get(path, handler)
        router.add_post(f"{data}/composite/sobjects/{{entity}}", self.authorized(self.retrieve_many))

    def authorized(self, handler: RequestHandler) -> RequestHandler:
        """Wrap a resource: check the token, add the usage header, format errors."""

        async def authorized(request: web.Request) -> web.StreamResponse:
            try:
                self._authorize(request)
                response = await handler(request)
            except RestRefusal as refused:
                response = json_response(orjson.dumps([refused.body]), status=refused.status)
            except QueryRefused as refused:
                body = [{"message": refused.message, "errorCode": refused.code}]
                response = json_response(orjson.dumps(body), status=400)
            if self._answer_ms:
                await asyncio.sleep(self._answer_ms / 1000)
            response.headers["Sforce-Limit-Info"] = f"api-usage={self.requests}/{self._daily_requests}"
            return response

        return authorized

    def _authorize(self, request: web.Request) -> None:
        if self._user_of(request.headers.get("Authorization", "")) is None:
            raise RestRefusal(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if self.requests >= self._daily_requests:
            raise RestRefusal(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        self.requests += 1
        if len(request.raw_path) > _MAX_URL_BYTES:
            raise RestRefusal(414, "URI_TOO_LONG", "The length of the URI exceeds the 16,384 byte limit")

    @property
    def allocation(self) -> dict[str, int]:
        """Limit of requests, and the number left."""
        return {"Max": self._daily_requests, "Remaining": max(self._daily_requests - self.requests, 0)}

    async def versions(self, _request: web.Request) -> web.Response:
        """GET `/services/data`: the API versions, without a token."""
        body = [
            {"label": f"v{version}", "url": f"/services/data/v{version}", "version": version}
            for version in _VERSIONS
        ]
        return json_response(orjson.dumps(body))

    async def query(self, request: web.Request) -> web.StreamResponse:
        """GET `/query?q=`: live records."""
        return self._run(request, deleted=False)

    async def query_all(self, request: web.Request) -> web.StreamResponse:
        """GET `/queryAll?q=`: live and soft-deleted records."""
        return self._run(request, deleted=True)

    def _run(self, request: web.Request, *, deleted: bool) -> web.Response:
        text = request.query.get("q")
        if text is None:
            raise RestRefusal(400, "MALFORMED_QUERY", "A query string has to be specified")
        query = parse(text)
        records = self._org.records[query.entity].values()
        purged = self._org.purged
        visible = (
            record
            for record in records
            if not record["IsDeleted"] or (deleted and record["Id"] not in purged)
        )
        rows = query.run(visible, self._org.clock())
        if not query.fields:
            return json_response(orjson.dumps({"totalSize": len(rows), "done": True, "records": []}))
        # Later pages show records as they were when the query ran.
        snapshot = rows if len(rows) <= self._page_size(request) else [dict(row) for row in rows]
        return self._page(request, query.entity, query.fields, snapshot, 0, None)

    async def query_more(self, request: web.Request) -> web.StreamResponse:
        """GET `/query/<locator>-<offset>`: the next page."""
        name, _, offset = request.match_info["locator"].rpartition("-")
        if name not in self._locators or not offset.isdigit():
            raise RestRefusal(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        entity, fields, rows = self._locators[name]
        return self._page(request, entity, fields, rows, int(offset), name)

    def _page(
        self,
        request: web.Request,
        entity: str,
        fields: tuple[str, ...],
        rows: list[dict[str, Any]],
        start: int,
        locator: str | None,
    ) -> web.Response:
        end = start + self._page_size(request)
        version = request.match_info["version"]
        body: dict[str, Any] = {"totalSize": len(rows), "done": end >= len(rows)}
        if end < len(rows):
            if locator is None:
                locator = self._org.ids.next("QueryLocator")
                self._locators[locator] = (entity, fields, rows)
                if len(self._locators) > _MAX_LOCATORS:
                    self._locators.popitem(last=False)
            body["nextRecordsUrl"] = f"/services/data/v{version}/query/{locator}-{end}"
        body["records"] = [self._rendered(version, entity, row, fields) for row in rows[start:end]]
        return json_response(orjson.dumps(body))

    def _page_size(self, request: web.Request) -> int:
        """Return the page size: the configured one, or less on request.

        `Sforce-Query-Options: batchSize=…` requests 200 to 2,000 rows.
        """
        _, _, requested = request.headers.get("Sforce-Query-Options", "").partition("batchSize=")
        size = max(200, min(2_000, int(requested))) if requested.strip().isdigit() else self._batch_size
        return min(size, self._batch_size)

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """GET `/sobjects/<object>/<id>[?fields=]`: one live record."""
        entity = self.entity(request)
        raw_id = request.match_info["id"]
        record_id = to_18(raw_id)
        if record_id is None:
            raise RestRefusal(
                400, "MALFORMED_ID", f"{entity} ID: id value of incorrect type: {raw_id}", ["Id"]
            )
        record = self._org.records[entity].get(record_id)
        if record is None or record["IsDeleted"]:
            raise RestRefusal(404, "NOT_FOUND", _NOT_FOUND)
        names = request.query.get("fields")
        fields = self._fields(entity, names.split(",")) if names else tuple(ENTITIES[entity].fields)
        return json_response(
            orjson.dumps(self._rendered(request.match_info["version"], entity, record, fields))
        )

    async def retrieve_many(self, request: web.Request) -> web.StreamResponse:
        """POST `/composite/sobjects/<object>`: records by id, null for missing ones.

        At most 2,000 ids.
        """
        entity = self.entity(request)
        try:
            body = orjson.loads(await request.read())
            ids, names = list(body["ids"]), list(body["fields"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as malformed:
            raise RestRefusal(
                400, "JSON_PARSER_ERROR", "The body must hold 'ids' and 'fields'"
            ) from malformed
        if len(ids) > _MAX_IDS:
            raise RestRefusal(400, "EXCEEDED_ID_LIMIT", f"The number of ids exceeds the limit of {_MAX_IDS}")
        fields = self._fields(entity, names)
        records = self._org.records[entity]
        version = request.match_info["version"]
        rows = []
        for record_id in ids:
            record = records.get(to_18(str(record_id)) or "")
            missing = record is None or record["IsDeleted"]
            rows.append(
                None if record is None or missing else self._rendered(version, entity, record, fields)
            )
        return json_response(orjson.dumps(rows))

    def entity(self, request: web.Request) -> str:
        """Return the object that the path names; raises `RestRefusal` if there is none."""
        lowercase = request.match_info["entity"].lower()
        for name in ENTITIES:
            if name.lower() == lowercase:
                return name
        raise RestRefusal(404, "NOT_FOUND", _NOT_FOUND)

    def _fields(self, entity: str, names: list[str]) -> tuple[str, ...]:
        by_lowercase = {name.lower(): name for name in ENTITIES[entity].fields}
        fields = []
        for name in names:
            field = by_lowercase.get(str(name).strip().lower())
            if field is None:
                raise RestRefusal(
                    400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {entity}"
                )
            fields.append(field)
        return tuple(dict.fromkeys(fields))

    def _rendered(
        self, version: str, entity: str, record: dict[str, Any], fields: tuple[str, ...]
    ) -> dict[str, Any]:
        now = self._org.clock()
        url = f"/services/data/v{version}/sobjects/{entity}/{record['Id']}"
        rendered: dict[str, Any] = {"attributes": {"type": entity, "url": url}}
        return rendered | {name: rest_value(entity, record, name, now) for name in fields}
