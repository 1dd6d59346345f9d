"""HTTP responses that break in transit: half a body, a reset, a proxy's error.

These faults lie below Bayeux and are kept apart from it: the protocol decides *that* a response breaks, this module
does it to the socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from consumer.sandbox.faults import Fault, Faults

JSON: Final = "application/json; charset=UTF-8"

_HTML: Final = (
    "<html><head><title>Error {status}</title></head>"
    "<body><h1>We are down for maintenance.</h1><p>Sorry for the inconvenience.</p></body></html>"
)


def json_response(body: bytes, *, status: int = 200) -> web.Response:
    """Make a complete JSON response."""
    return web.Response(body=body, status=status, headers={"Content-Type": JSON})


async def cut_response(request: web.Request, body: bytes) -> web.StreamResponse:
    """Announce the whole body, send half of it and close the socket."""
    response = web.StreamResponse(headers={"Content-Type": JSON, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: max(1, len(body) // 2)])
    if request.transport is not None:
        request.transport.close()
    return response


def reset_socket(request: web.Request) -> web.Response:
    """Reset the connection without an answer; the returned response is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def status_response(fault: Fault) -> web.Response:
    """Make a proxy's response: a status, and HTML unless the fault has a body."""
    status = int(fault.details.get("status", 503))
    body = fault.details.get("body", _HTML.format(status=status))
    content_type = fault.details.get("content_type", "text/html; charset=UTF-8")
    headers = {"Content-Type": content_type, **fault.details.get("headers", {})}
    return web.Response(status=status, body=str(body).encode(), headers=headers)


def scope_of(path: str) -> str:
    """Name the part of Salesforce that a path belongs to: cometd, oauth or rest."""
    if path.startswith("/cometd"):
        return "cometd"
    return "oauth" if path.startswith("/services/oauth2") else "rest"


RequestHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def http_fault_middleware(faults: Faults) -> Middleware:
    """Make middleware that answers requests with injected HTTP statuses."""

    @web.middleware
    async def middleware(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        if request.path.startswith("/sandbox"):
            return await handler(request)
        scope = scope_of(request.path)

        def matches(fault: Fault) -> bool:
            return fault.details.get("scope", "cometd") in {scope, "any"}

        fault = faults.injected("http_status", matching=matches)
        if fault is None:
            return await handler(request)
        faults.count_fault("http_status")
        return status_response(fault)

    return middleware
