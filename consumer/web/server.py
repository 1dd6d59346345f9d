"""HTTP server for probes, metrics and the API.

``/healthz`` answers 200 as long as the event loop runs, ``/readyz`` whether the service is ready and why not, ``/metrics`` is for
Prometheus. ``/readyz?standby`` also accepts a standby in good order: a rolling update has to use it, or it waits for ever for a standby to
become the leader. Everything else needs ``http.token`` as a bearer token and is closed without one, because positions and record ids are
not public by default. Requests are not logged: probes come every few seconds.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol, Self

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from consumer.clock import Clock, iso
from consumer.errors import StoreError
from consumer.inspection.status import ServiceStatus
from consumer.ports.commit import ChannelState
from consumer.ports.lease import LeaseState
from consumer.telemetry.health import HealthReport

__all__ = ["CheckpointReader", "Readiness", "WebServer"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUS_TIMEOUT_S = 2.0
"""Seconds that the status waits for the store; it is needed most when the store does not answer."""

_PUBLIC = frozenset({"/healthz", "/readyz", "/metrics"})


class Readiness(Protocol):
    """Source of readiness, as :class:`consumer.telemetry.health.Health` is."""

    def report(self, now_ms: int) -> HealthReport:
        """Return the verdict at monotonic ``now_ms``."""
        ...


class CheckpointReader(Protocol):
    """Source of ``/api/checkpoints``."""

    async def channels(self) -> dict[str, ChannelState]:
        """Return every stored channel."""
        ...

    async def lease(self) -> LeaseState:
        """Return the holder of the lease."""
        ...

    async def org_id(self) -> str | None:
        """Return the org that the store belongs to."""
        ...


class WebServer:
    """HTTP server, used as a context manager or with ``start`` and ``aclose``.

    Args:
        health: source of ``/readyz`` and ``/api/status``.
        registry: content of ``/metrics``.
        store: source of ``/api/checkpoints``.
        clock: for uptime and ages.
        host: address to listen on.
        port: TCP port; 0 takes a free port, see :attr:`port`.
        token: bearer token of ``/api``; None keeps it closed.
        service_status: reads the status from the store for ``/api/status``; None leaves it out.
    """

    def __init__(
        self,
        *,
        health: Readiness,
        registry: CollectorRegistry,
        store: CheckpointReader,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 8080,
        token: str | None = None,
        service_status: Callable[[], Awaitable[ServiceStatus]] | None = None,
    ) -> None:
        self._health = health
        self._registry = registry
        self._store = store
        self._clock = clock
        self._host = host
        self._wanted_port = port
        self._token = token
        self._read_status = service_status
        self._runner: web.AppRunner | None = None
        self._port: int | None = None
        self._started_ms = 0

    @property
    def port(self) -> int:
        """TCP port the server listens on.

        Raises:
            RuntimeError: the server is not started.
        """
        if self._port is None:
            raise RuntimeError("the web server is not started")
        return self._port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be used, for example because the port is taken.
        """
        app = web.Application(middlewares=[self._authorize])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/api/status", self._status)
        app.router.add_get("/api/checkpoints", self._checkpoints)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._wanted_port)
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = int(runner.addresses[0][1])
        self._started_ms = self._clock.monotonic_ms()

    async def aclose(self) -> None:
        """Stop listening; open requests get 2 s to finish."""
        runner, self._runner, self._port = self._runner, None, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -------------------------------------------------------- authorization

    @web.middleware
    async def _authorize(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.path in _PUBLIC:
            return await handler(request)
        if self._token is None:
            return _json({"error": "the API is closed: set http.token, or CADENCE_HTTP__TOKEN"}, 403)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        expected = self._token.encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), expected):
            unauthorized = _json({"error": "needs the token of http.token: Authorization: Bearer …"}, 401)
            unauthorized.headers["WWW-Authenticate"] = 'Bearer realm="cadence-consumer"'
            return unauthorized
        try:
            return await handler(request)
        except web.HTTPException as http_error:
            return _json(
                {"error": f"{request.method} {request.path}: {http_error.reason}"}, http_error.status
            )
        except StoreError as error:
            return _json({"error": str(error)}, 503)

    # -------------------------------------------------------- answers

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "alive", "uptime_ms": self._clock.monotonic_ms() - self._started_ms})

    async def _readyz(self, request: web.Request) -> web.Response:
        report = self._health.report(self._clock.monotonic_ms())
        accepted = report.ready or ("standby" in request.query and report.standby)
        return _json({"ready": report.ready, "reasons": report.reasons}, 200 if accepted else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _status(self, _: web.Request) -> web.Response:
        report = self._health.report(self._clock.monotonic_ms())
        service_status, why = None, None
        if self._read_status is not None:
            try:
                async with asyncio.timeout(_STATUS_TIMEOUT_S):
                    service_status = (await self._read_status()).document()
            except StoreError as error:
                why = str(error)
            except TimeoutError:
                why = f"the store did not answer within {_STATUS_TIMEOUT_S:g} s"
        return _json(
            {
                "ready": report.ready,
                "live": report.live,
                "reasons": report.reasons,
                "details": report.details,
                "status": service_status,
                "status_error": why,
            }
        )

    async def _checkpoints(self, _: web.Request) -> web.Response:
        channels = await self._store.channels()
        lease = await self._store.lease()
        return _json(
            {
                "org_id": await self._store.org_id(),
                "lease": {
                    "holder": lease.holder,
                    "expires": iso(lease.expires_ms) if lease.holder else None,
                    "commits": lease.number,
                },
                "channels": {
                    name: {
                        "position": state.position,
                        "position_time": _time(state.position_ms),
                        "birth": iso(state.birth_ms),
                        "polled_through": _time(state.polled_through_ms),
                    }
                    for name, state in sorted(channels.items())
                },
            }
        )


def _time(ms: int | None) -> str | None:
    return iso(ms) if ms is not None else None


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
