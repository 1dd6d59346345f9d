"""The control API under `/sandbox/`: inspect the org, inject faults, drive runs.

Salesforce has no such API. Tests in other processes and users with curl read the ledger and the records with it, inject
faults, advance the world or call one of its methods, and publish broken events. Everything is JSON; an invalid request
is answered 400 with an error message.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson
from aiohttp import web

from consumer.sandbox.broken_responses import RequestHandler, json_response
from consumer.sandbox.bus import EVERY_CHANNEL, EventBus, Ledger
from consumer.sandbox.errors import SandboxError
from consumer.sandbox.faults import FaultOptions, Faults
from consumer.sandbox.oauth import Credentials
from consumer.sandbox.org import Org
from consumer.sandbox.schema import ENTITIES, rest_value
from consumer.sandbox.world import World


class ControlledOrg(Protocol):
    """Parts of a simulated org that the control API reads and changes."""

    ledger: Ledger
    org: Org
    faults: Faults
    world: World
    bus: EventBus
    credentials: Credentials

    @property
    def url(self) -> str:
        """Base URL of the org."""
        ...

    def status(self) -> dict[str, Any]:
        """Report counters, clients, positions and the number of open runs."""
        ...

    def settle(self) -> None:
        """Publish every held event at once."""
        ...


class Control:
    """Request handlers of a sandbox's control API."""

    def __init__(self, sandbox: ControlledOrg) -> None:
        self._sandbox = sandbox

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Mount the API."""
        router.add_get("/sandbox/ledger", _with_error_answers(self.ledger))
        router.add_get("/sandbox/records", _with_error_answers(self.records))
        router.add_get("/sandbox/status", _with_error_answers(self.status))
        router.add_get("/sandbox/credentials", _with_error_answers(self.credentials))
        router.add_post("/sandbox/trouble", _with_error_answers(self.fault))
        router.add_post("/sandbox/world", _with_error_answers(self.world))
        router.add_post("/sandbox/inject", _with_error_answers(self.inject))

    async def ledger(self, request: web.Request) -> web.Response:
        """GET: events on `channel` after replay id `after`, at most `limit`, in bus order."""
        query = request.query
        after = int(query["after"]) if "after" in query else None
        entries = self._sandbox.ledger.entries(channel=query.get("channel"), after=after)
        limit = int(query.get("limit", len(entries)))
        rows = [
            {
                "position": entry.position,
                "replayId": entry.replay_id,
                "entity": entry.entity,
                "message": entry.decoded(query.get("channel")),
            }
            for entry in entries[:limit]
        ]
        return _answer({"entries": rows, "total": len(entries)})

    async def records(self, request: web.Request) -> web.Response:
        """GET: all records, of `object` or by object, with deleted ones, in REST's format."""
        requested = request.query.get("object")
        now = self._sandbox.org.clock()
        return _answer(
            {
                entity: [
                    {name: rest_value(entity, record, name, now) for name in ENTITIES[entity].fields}
                    for record in records.values()
                ]
                for entity, records in self._sandbox.org.records.items()
                if requested in {None, entity}
            }
        )

    async def status(self, _request: web.Request) -> web.Response:
        """GET: counters, clients, positions and the number of open runs."""
        return _answer(self._sandbox.status())

    async def credentials(self, _request: web.Request) -> web.Response:
        """GET: the credentials of every flow."""
        credentials = self._sandbox.credentials
        names = ("organization_id", "user_id", "username", "password", "client_id", "client_secret")
        body = {name: getattr(credentials, name) for name in (*names, "refresh_token", "private_key")}
        return _answer({**body, "login_url": self._sandbox.url})

    async def fault(self, request: web.Request) -> web.Response:
        """POST `{"kind": …, "times": n, …}`, `{"chances": {…}}` or `{"calm": true}`.

        Further members beside `kind` are details of the fault, see `Faults.inject`.
        """
        body = await _object(request)
        faults = self._sandbox.faults
        if body.pop("calm", False):
            faults.clear()
        if "chances" in body:
            faults.configure(FaultOptions(**body.pop("chances")))
        if "kind" in body:
            faults.inject(body.pop("kind"), **body)
        return _answer({"counters": dict(faults.counters)})

    async def world(self, request: web.Request) -> web.Response:
        """POST an instruction to the world; returns the result of a call.

        `{"advance": n}`, `{"call": name, "args": […], "kwargs": {…}}` or `{"settle": true}`.
        """
        body = await _object(request)
        result: Any = None
        if "advance" in body:
            self._sandbox.world.advance(int(body["advance"]))
        if "call" in body:
            result = self._sandbox.world.invoke(body["call"], *body.get("args", []), **body.get("kwargs", {}))
        if body.get("settle"):
            self._sandbox.settle()
        return _answer({"result": result, "events": len(self._sandbox.ledger)})

    async def inject(self, request: web.Request) -> web.Response:
        """POST `{"data": any JSON, "entity": optional}`: publish; returns the replay id."""
        body = await _object(request)
        replay_id = self._sandbox.bus.inject(body["data"], entity=body.get("entity", EVERY_CHANNEL))
        return _answer({"replayId": replay_id})


def _answer(body: Any) -> web.Response:
    return json_response(orjson.dumps(body))


async def _object(request: web.Request) -> dict[str, Any]:
    body = orjson.loads(await request.read())
    if not isinstance(body, dict):
        raise TypeError(f"the body must be a JSON object, not {type(body).__name__}")
    return body


def _with_error_answers(handler: RequestHandler) -> RequestHandler:
    """Wrap a handler to answer its errors with 400 and their message."""

    async def answer_errors(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (SandboxError, KeyError, TypeError, ValueError) as refused:
            body = {"error": f"{type(refused).__name__}: {refused}"}
            return json_response(orjson.dumps(body), status=400)

    return answer_errors
