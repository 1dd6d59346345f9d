"""The sandbox: an org, its bus and its faults behind one HTTP server.

This module is the composition root. Commits pass through the faults to the bus; one background task publishes held
events, another drives the world at its rate. The server listens on localhost (IPv4, and IPv6 where available), answers
with org time in the `Date` header, and closes in bounded time: open polls are answered, sockets closed, and held
events published so that the ledger is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from types import TracebackType
from typing import Any, Final, Self

import structlog
from aiohttp import web

from consumer.sandbox.actions import ActionOptions, ActionsEndpoint
from consumer.sandbox.broken_responses import http_fault_middleware
from consumer.sandbox.bus import ChannelCatalogue, EventBus, Ledger
from consumer.sandbox.cadences import BUILT_IN, CadencePlan, Catalogue
from consumer.sandbox.change_events import ChangeEvent
from consumer.sandbox.clock import MillisecondClock, OrgClock
from consumer.sandbox.cometd import Cometd, CometdOptions
from consumer.sandbox.control import Control
from consumer.sandbox.delivery_quota import DeliveryQuota
from consumer.sandbox.errors import PortUnavailable
from consumer.sandbox.faults import FaultOptions, Faults
from consumer.sandbox.oauth import Credentials, OAuth, OAuthOptions
from consumer.sandbox.org import Org, OrgOptions
from consumer.sandbox.replication import Replication
from consumer.sandbox.rest import Rest
from consumer.sandbox.world import World, WorldOptions

_CLOSE_SECONDS: Final = 2.0
_MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
_TICK_SECONDS: Final = 0.02

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """Configuration of the simulated org.

    Attributes:
        port: TCP port; 0 for any free one.
        host: address to bind; `localhost` binds the loopback addresses only.
        seed: of every random choice.
        clock: org time in epoch ms; default real time, `speed` times as fast, from `start` (epoch ms) if set.
        retention_ms: retention of the bus, in org time (documented: 72 h).
        custom_channels: entities by channel name (`/data/<Name>__chn`).
        query_batch_size: limit of rows per query page.
        daily_requests: limit of REST requests.
        rest_ms: delay of each REST answer.
        daily_deliveries: limit of events delivered within 24 hours of org time (documented: 50,000 in the larger editions).
        tls: context to serve HTTPS with; None for HTTP.
    """

    port: int = 0
    host: str = "localhost"
    seed: int = 1
    clock: MillisecondClock | None = None
    speed: float = 1.0
    start: int | None = None
    retention_ms: int = 72 * 3_600_000
    custom_channels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    query_batch_size: int = 2_000
    daily_requests: int = 100_000
    rest_ms: int = 0
    daily_deliveries: int = 50_000_000
    cadences: tuple[CadencePlan, ...] = BUILT_IN
    tls: ssl.SSLContext | None = None
    org: OrgOptions = field(default_factory=OrgOptions)
    world: WorldOptions = field(default_factory=WorldOptions)
    faults: FaultOptions = field(default_factory=FaultOptions)
    cometd: CometdOptions = field(default_factory=CometdOptions)
    oauth: OAuthOptions = field(default_factory=OAuthOptions)
    actions: ActionOptions = field(default_factory=ActionOptions)


class Sandbox:
    """A simulated Salesforce org, used as an asynchronous context manager.

    Entering raises `PortUnavailable` if the port is taken; leaving raises the error that ended a background task, if any.
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.options = options or SandboxOptions()
        seed = self.options.seed
        clock = self.options.clock or OrgClock(speed=self.options.speed, start=self.options.start)
        self.org = Org(self.options.org, clock=clock, seed=seed)
        self.catalogue = Catalogue(self.org, self.options.cadences)
        self.world = World(self.org, self.catalogue, self.options.world, seed=seed)
        self.faults = Faults(self.options.faults, seed=seed)
        self.bus = EventBus(clock=clock, seed=seed, retention_ms=self.options.retention_ms)
        channels = ChannelCatalogue(selected=self.options.org.selected, custom=self.options.custom_channels)
        self.ledger = Ledger(self.bus, channels)
        self.credentials = Credentials(
            seed=seed,
            organization_id=self.org.organization_id,
            user_id=self.org.integration_user_id,
            username="integration@sandbox.example",
        )
        self.oauth = OAuth(seed=seed, credentials=self.credentials, options=self.options.oauth)
        self.delivery_quota = DeliveryQuota(clock, self.options.daily_deliveries)
        self.cometd = Cometd(
            bus=self.bus,
            channels=channels,
            faults=self.faults,
            authenticate=self.oauth.user_of,
            delivery_quota=self.delivery_quota,
            options=self.options.cometd,
            seed=seed,
        )
        self.rest = Rest(
            self.org,
            user_of=self.oauth.user_of,
            batch_size=self.options.query_batch_size,
            daily_requests=self.options.daily_requests,
            answer_ms=self.options.rest_ms,
        )
        self.replication = Replication(self.org, self.rest, self.delivery_quota)
        self.actions = ActionsEndpoint(self.world, self.options.actions, user_of=self.oauth.user_of)
        self.port = 0
        self._committed = 0
        self._held_changed = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()
        self.org.on_commit = self._publish_with_faults
        self.faults.register_immediate("revoke", self._revoke)
        self.faults.register_immediate("expire", lambda details: self.bus.expire(details.get("through")))

    @property
    def url(self) -> str:
        """Base URL, of the log-in host and the instance alike."""
        host = "localhost" if self.options.host in {"localhost", "0.0.0.0", "::"} else self.options.host  # noqa: S104 - compared, not bound
        return f"{'https' if self.options.tls else 'http'}://{host}:{self.port}"

    def access_token(self) -> str:
        """Issue an access token without any flow."""
        return self.oauth.issue()

    def settle(self) -> None:
        """Publish every held event at once."""
        self.bus.release_all()

    def status(self) -> dict[str, Any]:
        """Report counters, clients, positions and the number of open runs, ready for JSON."""
        loop = asyncio.get_running_loop()
        self.cometd.sessions.forget_expired(loop.time())
        return {
            "orgTime": self.org.clock(),
            "events": len(self.ledger),
            "held": self.bus.held,
            "lateEvents": self.bus.counters["late"],
            "tip": self.bus.log[-1].replay_id if self.bus.log else None,
            "oldest": self.bus.log[self.bus.floor].replay_id if self.bus.floor < self.bus.tip else None,
            "transactions": self.org.transactions,
            "openRuns": len(self.world.open_runs),
            "handshakes": self.cometd.sessions.created,
            "tokensIssued": self.oauth.tokens.issued,
            "restRequests": self.rest.requests,
            "actionCalls": dict(self.actions.calls),
            "trouble": dict(self.faults.counters),
            "clients": [
                {
                    "clientId": session.client_id,
                    "polling": session.polling > 0,
                    "polls": session.polls,
                    "delivered": session.delivered,
                    "channels": {name: each.cursor for name, each in session.subscriptions.items()},
                }
                for session in self.cometd.sessions
            ],
        }

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._stack = stack
            runner = web.AppRunner(
                self._application(),
                handler_cancellation=True,
                shutdown_timeout=_CLOSE_SECONDS,
                access_log=None,
                max_line_size=65_536,
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            stack.callback(self.cometd.close)
            sockets = _listen(self.options.host, self.options.port)
            self.port = sockets[0].getsockname()[1]
            for listening in sockets:
                await web.SockSite(runner, listening, ssl_context=self.options.tls).start()
            stack.callback(self.settle)
            await self._background(stack, self._release())
            if self.options.world.events_per_second:
                await self._background(stack, self._drive())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def _application(self) -> web.Application:
        application = web.Application(
            client_max_size=_MAX_REQUEST_BYTES, middlewares=[http_fault_middleware(self.faults)]
        )
        router = application.router
        for path in ("/cometd", "/cometd/", "/cometd/{version}", "/cometd/{version}/"):
            router.add_post(path, self.cometd.handle)
        router.add_post(
            "/cometd/{version}/{verb:handshake|connect|subscribe|unsubscribe|disconnect}", self.cometd.handle
        )
        router.add_post("/services/oauth2/token", self.oauth.token)
        router.add_route("*", "/services/oauth2/revoke", self.oauth.revoke_endpoint)
        router.add_get("/services/oauth2/userinfo", self.oauth.userinfo)
        self.replication.add_routes(router)
        self.rest.add_routes(router)
        self.actions.add_routes(router, self.rest.authorized)
        Control(self).add_routes(router)
        application.on_response_prepare.append(self._set_date_header)
        return application

    async def _set_date_header(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(self.org.clock() / 1000, usegmt=True)

    def _revoke(self, details: dict[str, Any]) -> int:
        revoked = self.oauth.revoke(details.get("token"))
        self.cometd.sessions.wake_all()
        return revoked

    def _publish_with_faults(self, events: list[ChangeEvent]) -> None:
        self._committed += len(events)
        now = _loop_ms()
        for event, delay in self.faults.apply_to_commit(events):
            if delay:
                self.bus.hold(event, now + delay)
            else:
                self.bus.publish(event)
        if self.bus.held:
            self._held_changed.set()

    async def _background(self, stack: contextlib.AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until the sandbox closes.

        An error that ends it is logged at once and raised on closing.
        """
        task = asyncio.create_task(work)
        task.add_done_callback(_log_failure)

        async def stop() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        stack.push_async_callback(stop)

    async def _release(self) -> None:
        """Publish held events when they are due."""
        while True:
            self._held_changed.clear()
            self.bus.release(_loop_ms())
            due = self.bus.next_due
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if due is None else due / 1000):
                    await self._held_changed.wait()

    async def _drive(self) -> None:
        """Advance the world at its rate; after a stall, catch up on one second at most."""
        rate = self.options.world.events_per_second
        loop = asyncio.get_running_loop()
        last, debt = loop.time(), 0.0
        while True:
            await asyncio.sleep(max(_TICK_SECONDS, 0.5 / rate))
            now = loop.time()
            debt = min(debt + rate * (now - last), max(rate, 1.0))
            last = now
            before = self._committed
            self.world.advance_until(lambda: self._committed - before > debt - 1)  # noqa: B023 - called in this turn
            debt -= self._committed - before


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("sandbox background task failed; the org no longer advances", exc_info=error)


def _loop_ms() -> int:
    """Return the event loop's clock in ms.

    Rounded, so that a timer set to a millisecond finds it reached.
    """
    try:
        return round(asyncio.get_running_loop().time() * 1000)
    except RuntimeError:
        return 0  # before the sandbox runs: every held event is due when it starts


def _listen(host: str, port: int) -> list[socket.socket]:
    """Listen on `host`, or on both loopback addresses; raises `PortUnavailable`.

    Both loopback addresses get the same port.
    """
    if host != "localhost":
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return [socket.create_server((host, port), family=family, backlog=1024)]
        except OSError as cause:
            raise PortUnavailable(host=host, port=port, cause=cause) from cause
    while True:
        try:
            first = socket.create_server(("127.0.0.1", port), backlog=1024)
        except OSError as cause:
            raise PortUnavailable(host=host, port=port, cause=cause) from cause
        try:
            address = ("::1", first.getsockname()[1])
            return [first, socket.create_server(address, family=socket.AF_INET6, backlog=1024)]
        except OSError as cause:
            if cause.errno != errno.EADDRINUSE:
                return [first]  # no IPv6 loopback on this machine
            first.close()
            if port:
                raise PortUnavailable(host=host, port=port, cause=cause) from cause
