"""The streaming endpoint: Bayeux over long polling at `/cometd/<version>`.

A POST carries one message or an array of them; each gets a reply, and a lone `/meta/connect` is held until there are
events or the poll times out. `ClientChecks` checks token, session and cookies of every message. Events are serialised
when they are published and joined as bytes, so a backlog costs only a copy.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson
from aiohttp import web

from consumer.sandbox import bayeux
from consumer.sandbox.bayeux import Message
from consumer.sandbox.bayeux_requests import cookies, parse, replay_id, subscription_names, wrong_version
from consumer.sandbox.broken_responses import cut_response, json_response, reset_socket
from consumer.sandbox.bus import ChannelCatalogue, EventBus
from consumer.sandbox.client_checks import Authenticate, ClientChecks, RequestContext
from consumer.sandbox.delivery_quota import DeliveryQuota
from consumer.sandbox.faults import Fault, Faults
from consumer.sandbox.sessions import ChannelSubscription, StreamingSession, StreamingSessions


@dataclass(frozen=True, slots=True, kw_only=True)
class CometdOptions:
    """Limits of the streaming endpoint; defaults as documented or observed.

    Attributes:
        poll_timeout_ms: time for which a poll is held (documented: 110 s).
        session_lifetime_ms: longest time between polls (documented: 40 s).
        route_lifetime_ms: lifetime of the routing cookie, and with it of the session (observed: about 3 h).
        max_events_per_poll: limit of events per answer (not documented).
        max_bytes_per_poll: approximate limit of bytes per answer (clients buffer at least 10 MB).
        max_request_bytes: size limit of a request body (documented: 32,768).
    """

    poll_timeout_ms: int = 110_000
    session_lifetime_ms: int = 40_000
    route_lifetime_ms: int = 3 * 3_600_000
    max_events_per_poll: int = 2_000
    max_bytes_per_poll: int = 8_000_000
    max_request_bytes: int = 32_768


class Cometd:
    """Serve the streaming clients of the org."""

    def __init__(
        self,
        *,
        bus: EventBus,
        channels: ChannelCatalogue,
        faults: Faults,
        authenticate: Authenticate,
        delivery_quota: DeliveryQuota,
        options: CometdOptions | None = None,
        seed: int = 1,
    ) -> None:
        self.options = options or CometdOptions()
        self.sessions = StreamingSessions(
            seed=seed,
            lifetime=self.options.session_lifetime_ms / 1000,
            route_lifetime=self.options.route_lifetime_ms / 1000,
        )
        self._bus = bus
        self._delivery_quota = delivery_quota
        self._channels = channels
        self._faults = faults
        self._client_checks = ClientChecks(self.sessions, faults=faults, authenticate=authenticate)
        self._closed = asyncio.Event()
        faults.on_inject = self.sessions.wake_all
        bus.on_publish = self.sessions.wake_all

    def close(self) -> None:
        """Answer every open poll at once, and hold no further ones."""
        self._closed.set()
        self.sessions.wake_all()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one POST."""
        if (request.content_length or 0) > self.options.max_request_bytes:
            return web.Response(status=413, text=bayeux.TOO_LARGE)
        body = await request.read()
        if len(body) > self.options.max_request_bytes:
            return web.Response(status=413, text=bayeux.TOO_LARGE)
        messages = parse(body)
        if messages is None:
            return web.Response(status=400, text="400::Cannot parse the request body as Bayeux messages")
        version_error = wrong_version(request.match_info.get("version", ""))
        if version_error is not None:
            replies = [
                {"channel": message.get("channel"), "error": version_error, "successful": False}
                for message in messages
            ]
            return json_response(orjson.dumps(replies), status=400)
        context = RequestContext(
            authorization=request.headers.get("Authorization"),
            cookies=cookies(request.headers.get("Cookie", "")),
            now=asyncio.get_running_loop().time(),
        )
        parts: list[bytes] = []
        for message in messages:
            parts += await self._answer(message, context, alone=len(messages) == 1)
        return await self._send(request, context, b"[" + b",".join(parts) + b"]")

    async def _send(self, request: web.Request, context: RequestContext, body: bytes) -> web.StreamResponse:
        kind = context.fault.kind if context.fault is not None else None
        if kind is not None:
            self._faults.count_fault(kind)
        if kind == "close_socket":
            return reset_socket(request)
        if kind == "cut":
            return await cut_response(request, body)
        if kind == "malformed":
            body = body[:-1] + b',{"channel":"/data/\xff'
        response = json_response(body)
        for cookie in context.set_cookies:
            response.headers.add("Set-Cookie", cookie)
        return response

    async def _answer(self, message: Message, context: RequestContext, *, alone: bool) -> list[bytes]:
        refusal = self._client_checks.unauthenticated(message, context)
        if refusal is not None:
            return [orjson.dumps(refusal)]
        if message.get("channel") == "/meta/handshake":
            return [orjson.dumps(self._client_checks.handshake(message, context))]
        session = self._client_checks.session(message, context)
        if isinstance(session, dict):
            return [orjson.dumps(session)]
        session.last_seen = context.now
        match message.get("channel"):
            case "/meta/connect":
                if message.get("connectionType") != "long-polling":
                    error = bayeux.invalid_connection_type(message.get("connectionType"))
                    return [orjson.dumps(bayeux.refused(message, error))]
                return await self._poll(session, message, context, may_wait=alone)
            case "/meta/subscribe":
                reply = self._subscribe(session, message)
            case "/meta/unsubscribe":
                for channel in subscription_names(message):
                    session.subscriptions.pop(channel, None)
                reply = bayeux.subscribe_ok(message)
            case "/meta/disconnect":
                session.disconnected = True
                self.sessions.forget(session)
                reply = bayeux.disconnect_ok(message)
            case _:
                reply = bayeux.refused(message, "403::Restricted channel")
        return [orjson.dumps(reply)]

    def _subscribe(self, session: StreamingSession, message: Message) -> Message:
        names = subscription_names(message)
        if not names:
            return bayeux.refused(message, bayeux.NO_CHANNEL_NAME)
        subscriptions: dict[str, ChannelSubscription] = {}
        for channel in names:
            subscription = self._subscription(channel, message)
            if isinstance(subscription, dict):
                return subscription
            subscriptions[channel] = subscription
        session.subscriptions.update(subscriptions)
        session.wake.set()
        return bayeux.subscribe_ok(message)

    def _subscription(self, channel: str, message: Message) -> ChannelSubscription | Message:
        """Create the subscription to one channel, or the reply that refuses it."""
        fault = self._faults.injected(
            "refuse_subscribe", matching=lambda fault: fault.details.get("channel") in {None, channel}
        )
        if fault is not None:
            self._faults.count_fault("refuse_subscribe")
            return _refused_reply(message, fault, "403:denied_by_security_policy:subscribe_denied")
        if not channel.startswith("/"):
            return bayeux.refused(message, bayeux.NO_LEADING_SLASH)
        entities = self._channels.entities(channel)
        if entities is None:
            return bayeux.refused(message, bayeux.no_such_channel(channel))
        requested = replay_id(message, channel)
        cursor = self._bus.resume_after(requested) if isinstance(requested, int) else None
        if cursor is None:
            return bayeux.refused(message, bayeux.invalid_replay(requested))
        return ChannelSubscription(channel, entities, cursor)

    async def _poll(
        self, session: StreamingSession, message: Message, context: RequestContext, *, may_wait: bool
    ) -> list[bytes]:
        """Hold the poll until there is an answer, then give it."""
        session.polls += 1
        poll_number = session.polls
        first = not session.connected
        session.connected = True
        session.wake.set()  # ends an older poll of the same client
        session.polling += 1
        try:
            hold = may_wait and not first
            fault = await self._hold(session, poll_number, context, self._timeout(message) if hold else 0.0)
            if self._closed.is_set() or session.polls != poll_number:
                return [orjson.dumps(bayeux.connect_ok(message, first=False, timeout_ms=0))]
            refusal = self._client_checks.unauthenticated(message, context)
            if refusal is not None:
                return [orjson.dumps(refusal)]
            if session.forgotten:
                return [orjson.dumps(self._ended_session_reply(session, message, context))]
            return await self._deliver(session, message, context, first=first, fault=fault)
        finally:
            session.polling -= 1
            session.last_seen = asyncio.get_running_loop().time()

    def _timeout(self, message: Message) -> float:
        """Compute the seconds to hold a poll: the client's advice, at most the limit."""
        advice = message.get("advice")
        requested = advice.get("timeout") if isinstance(advice, dict) else None
        limit = self.options.poll_timeout_ms
        return (min(requested, limit) if isinstance(requested, int) and requested >= 0 else limit) / 1000

    async def _hold(
        self, session: StreamingSession, poll_number: int, context: RequestContext, seconds: float
    ) -> Fault | None:
        """Wait for events, a fault, the end of the session or the poll's time-out."""
        loop = asyncio.get_running_loop()
        drawn_fault = self._faults.draw_for_poll()
        deadline = loop.time() + seconds
        while True:
            session.wake.clear()
            ended = (
                self._closed.is_set()
                or session.forgotten
                or session.polls != poll_number
                or not self._client_checks.has_valid_token(context)
            )
            if ended:
                return None
            injected = self._faults.injected_for_poll()
            if injected is not None:
                return injected
            if session.has_events(self._bus) or loop.time() >= deadline:
                return drawn_fault
            try:
                async with asyncio.timeout_at(deadline):
                    await session.wake.wait()
            except TimeoutError:
                continue

    async def _deliver(
        self,
        session: StreamingSession,
        message: Message,
        context: RequestContext,
        *,
        first: bool,
        fault: Fault | None,
    ) -> list[bytes]:
        """Answer a poll, with its fault if any: events first, the acknowledgement last."""
        match fault.kind if fault is not None else None:
            case "drop_session":
                self.sessions.forget(session)
                self._faults.count_fault("drop_session")
                error = str(fault.details.get("error", bayeux.UNKNOWN_CLIENT)) if fault else ""
                return [orjson.dumps(self._client_checks.unknown(message, context, error))]
            case "refuse_connect" if fault is not None:
                self._faults.count_fault("refuse_connect")
                return [orjson.dumps(_refused_reply(message, fault, bayeux.DAILY_LIMIT))]
            case "stall" | "delay" if fault is not None:
                await self._hold_response(fault)
            case "cut" | "malformed" | "close_socket":
                context.fault = fault
        if session.has_events(self._bus) and not self._delivery_quota.remaining:
            self.sessions.forget(session)
            return [orjson.dumps(bayeux.refused(message, bayeux.DAILY_LIMIT))]
        parts = session.next_messages(
            self._bus,
            self._faults,
            max_events=min(self.options.max_events_per_poll, self._delivery_quota.remaining),
            max_bytes=self.options.max_bytes_per_poll,
        )
        self._delivery_quota.count(len(parts))
        if fault is not None and fault.kind == "server_disconnect":
            self._faults.count_fault("server_disconnect")
            self.sessions.forget(session)
            parts.append(orjson.dumps(bayeux.server_disconnect()))
        acknowledgement = bayeux.connect_ok(message, first=first, timeout_ms=self.options.poll_timeout_ms)
        return [*parts, orjson.dumps(acknowledgement)]

    async def _hold_response(self, fault: Fault) -> None:
        """Delay the answer by the fault's `ms`.

        Without `ms`, a stall lasts until the client gives up or the sandbox closes, and a delay is drawn.
        """
        self._faults.count_fault(fault.kind)
        milliseconds = fault.details.get("ms")
        if milliseconds is None and fault.kind == "delay":
            milliseconds = self._faults.draw_ms(self._faults.options.delay_ms)
        try:
            async with asyncio.timeout(None if milliseconds is None else milliseconds / 1000):
                await self._closed.wait()
        except TimeoutError:
            return

    def _ended_session_reply(
        self, session: StreamingSession, message: Message, context: RequestContext
    ) -> Message:
        """Answer an open poll whose session has ended."""
        if session.disconnected:
            reply = bayeux.connect_ok(message, first=False, timeout_ms=0)
            return {**reply, "advice": {"reconnect": "none", "interval": 0}}
        return self._client_checks.unknown(message, context)


def _refused_reply(message: Message, fault: Fault, default: str) -> Message:
    """Refuse a message with the error, failure reason and advice of an injected fault."""
    return bayeux.refused(
        message,
        str(fault.details.get("error", default)),
        failure_reason=fault.details.get("failure_reason"),
        advice=fault.details.get("advice"),
    )
