"""REST resources for replication: updated and deleted records, and limits.

`updated` and `deleted` select by `SystemModstamp`, ignore the seconds of both dates and return in `latestDateCovered`
where the next call must begin; a start before the documented reach (30 and 15 days) is refused. Deleted records that
are purged from the recycle bin remain in the delete log. `limits` shows the remaining deliveries of the last 24 hours:
every event counts once for each subscriber that it is delivered to.

Source: REST API Developer Guide, "Get Updated", "Get Deleted", "Limits". The refusal of a date out of reach, and the
whole minute in `latestDateCovered`, are inferred from the guide's examples.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import orjson
from aiohttp import web

from consumer.sandbox.broken_responses import json_response
from consumer.sandbox.delivery_quota import DAY_MS, DeliveryQuota
from consumer.sandbox.org import Org
from consumer.sandbox.rest import Rest, RestRefusal
from consumer.sandbox.schema import rest_time

_UPDATED_REACH_MS: Final = 30 * DAY_MS
_DELETED_REACH_MS: Final = 15 * DAY_MS
_MINUTE_MS: Final = 60_000
_MAX_IDS: Final = 600_000


class Replication:
    """Resources `/sobjects/<object>/updated`, `/deleted` and `/limits`."""

    def __init__(self, org: Org, rest: Rest, delivery_quota: DeliveryQuota) -> None:
        self._org = org
        self._rest = rest
        self._delivery_quota = delivery_quota

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Mount the resources; before those of `Rest`, which take `updated` for an id."""
        data = "/services/data/v{version:[0-9]+[.][0-9]}"
        for path, handler in (
            (f"{data}/sobjects/{{entity}}/updated", self.updated),
            (f"{data}/sobjects/{{entity}}/updated/", self.updated),
            (f"{data}/sobjects/{{entity}}/deleted", self.deleted),
            (f"{data}/sobjects/{{entity}}/deleted/", self.deleted),
            (f"{data}/limits", self.limits),
            (f"{data}/limits/", self.limits),
        ):
            router.add_get(path, self._rest.authorized(handler))

    async def updated(self, request: web.Request) -> web.StreamResponse:
        """GET `?start=&end=`: ids of records created or changed in the window."""
        start, end, covered = self._window(request, _UPDATED_REACH_MS)
        ids = [
            record["Id"] for record in self._in_window(request, start, end, lambda row: not row["IsDeleted"])
        ]
        return json_response(orjson.dumps({"ids": ids, "latestDateCovered": rest_time(covered)}))

    async def deleted(self, request: web.Request) -> web.StreamResponse:
        """GET `?start=&end=`: records deleted in the window, each with its time."""
        start, end, covered = self._window(request, _DELETED_REACH_MS)
        deleted = self._in_window(request, start, end, lambda row: row["IsDeleted"])
        body = {
            "deletedRecords": [
                {"id": record["Id"], "deletedDate": rest_time(record["SystemModstamp"])} for record in deleted
            ],
            "earliestDateAvailable": rest_time(_minute(self._org.clock() - _DELETED_REACH_MS)),
            "latestDateCovered": rest_time(covered),
        }
        return json_response(orjson.dumps(body))

    async def limits(self, _request: web.Request) -> web.StreamResponse:
        """GET: allocations, each with its remainder."""
        deliveries = {"Max": self._delivery_quota.limit, "Remaining": self._delivery_quota.remaining}
        body = {"DailyApiRequests": self._rest.allocation, "DailyDeliveredPlatformEvents": deliveries}
        return json_response(orjson.dumps(body))

    def _in_window(
        self, request: web.Request, start: int, end: int, matches: Callable[[dict[str, Any]], bool]
    ) -> list[dict[str, Any]]:
        records = self._org.records[self._rest.entity(request)].values()
        rows = [row for row in records if start <= row["SystemModstamp"] < end and matches(row)]
        if len(rows) > _MAX_IDS:
            raise RestRefusal(
                400, "EXCEEDED_ID_LIMIT", f"More than {_MAX_IDS} records in the window: narrow it"
            )
        return sorted(rows, key=lambda row: (row["SystemModstamp"], row["Id"]))

    def _window(self, request: web.Request, reach_ms: int) -> tuple[int, int, int]:
        """Parse start, end and the date covered, as epoch ms of whole minutes."""
        start, end = (_date(request, name) for name in ("start", "end"))
        now = self._org.clock()
        if start < now - reach_ms:
            raise RestRefusal(
                400, "INVALID_REPLICATION_DATE", f"start is more than {reach_ms // DAY_MS} days ago"
            )
        if end <= start:
            raise RestRefusal(400, "INVALID_REPLICATION_DATE", "end must be at least one minute after start")
        covered = min(end, _minute(now))
        return start, covered, covered


def _date(request: web.Request, name: str) -> int:
    try:
        instant = datetime.fromisoformat(request.query[name])
        return _minute(int(instant.timestamp() * 1000))
    except (KeyError, ValueError) as malformed:
        raise RestRefusal(400, "INVALID_DATE", f"{name} must be an ISO 8601 date and time") from malformed


def _minute(ms: int) -> int:
    return ms // _MINUTE_MS * _MINUTE_MS
