"""One disposable CometD session after the other: what fills the source's port.

A session is one line, and whatever does not fit it is a :class:`SessionFault` with its reason::

    token → handshake → first connect (answered at once) → every channel subscribed → long polls, one at a time

There is no task and no repair: a poll runs while somebody waits for the next answer, so nothing can overtake, pile up or stay behind.
The first long poll starts after every channel is subscribed; earlier, live events of one channel would overtake the replayed ones.
The supervisor opens the next session, with new connections and an empty cookie jar, because a stale routing cookie is what makes
``403::Unknown client`` come back for ever.

Documented by Salesforce and relied on: the first connect after a handshake is the one that carries advice; a poll is held up to 110 s;
the client must be back within 40 s of an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from ssl import SSLContext

import aiohttp

from consumer.clock import Clock
from consumer.errors import EndReason, Remedy, SessionFault
from consumer.ports.source import Answer, SessionOpened
from consumer.salesforce.auth import AccessToken, TokenCache
from consumer.salesforce.bayeux import Exchange
from consumer.salesforce.cometd_client import CometdClient, RequestLimits

__all__ = ["CometdSession", "CometdSource"]

# After these the server knows no client that could be disconnected.
_LOST_CLIENTS = frozenset(
    {"unknown_client", "handshake_missing", "server_disconnect", "authentication_invalid"}
)


class CometdSource:
    """Makes CometD sessions; implements :class:`consumer.ports.source.Source`."""

    def __init__(
        self,
        tokens: TokenCache,
        clock: Clock,
        *,
        api_version: str,
        limits: RequestLimits | None = None,
        ssl: SSLContext | bool = True,
        trust_env: bool = False,
    ) -> None:
        self.tokens = tokens
        self.clock = clock
        self.api_version = api_version
        self.limits = limits or RequestLimits()
        self.ssl = ssl
        self.trust_env = trust_env
        self.short_poll_support = _ShortPollSupport()

    def session(self, number: int, poll_timeout: Callable[[], int | None]) -> CometdSession:
        """See :meth:`consumer.ports.source.Source.session`."""
        # A session that broke leaves its sockets, tasks and tracebacks in cycles, which nobody looks for in a heap of records that live
        # long (consumer.app). It costs some 10 ms, and sessions end once in hours, or in a storm once in a while.
        gc.collect()
        return CometdSession(self, number, poll_timeout)


@dataclass(slots=True)
class _ShortPollSupport:
    """Whether the server answers a poll when it is asked to, rather than when it likes.

    Salesforce does not document that it honours a client's ``advice.timeout``. If it does not, a poll that was to be short looks like a
    dead connection; after the first of these, short polls are given the server's own time before they count as unanswered.
    """

    honoured: bool = True


class CometdSession:
    """One session; implements :class:`consumer.ports.source.Session`. Call :meth:`aclose` whatever :meth:`open` did."""

    def __init__(self, source: CometdSource, number: int, poll_timeout: Callable[[], int | None]) -> None:
        self.number = number
        self._source = source
        self._limits = source.limits
        self._poll_timeout = poll_timeout
        self._http: aiohttp.ClientSession | None = None
        self._client: CometdClient | None = None
        self._token: AccessToken | None = None
        self._early_answers: deque[Answer] = deque()
        self._fault: SessionFault | None = None
        self._interval_ms = 0
        self._hold_ms = source.limits.poll_ms

    async def open(self, resume: Mapping[str, str]) -> SessionOpened:
        """See :meth:`consumer.ports.source.Session.open`.

        Raises:
            SessionFault: anything but a clean acknowledgement of every channel.
            AuthenticationFailed: there is no token to try it with.
            ValueError: ``resume`` names no channel.
        """
        if not resume:
            raise ValueError("a session needs at least one channel")
        with self._recording_fault():
            self._token = await self._source.tokens.token()
            self._http = aiohttp.ClientSession(
                cookie_jar=aiohttp.CookieJar(unsafe=True, quote_cookie=False),
                connector=aiohttp.TCPConnector(ssl=self._source.ssl, limit=2),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_ms / 1000),
                trust_env=self._source.trust_env,
            )
            self._client = CometdClient(
                self._token,
                self._http,
                resume,
                api_version=self._source.api_version,
                clock=self._source.clock,
                limits=self._limits,
            )
            await self._client.open()
            self._buffer_events(self._client.handshake_exchange)
            self._buffer_events(await self._connect(0, self._limits.handshake_ms))
            server_ms: int | None = None
            for exchange in await self._client.subscribe_all():
                self._buffer_events(exchange)
                server_ms = exchange.server_ms if exchange.server_ms is not None else server_ms
        limit_ms = self._interval_ms + self._hold_ms + self._limits.poll_margin_ms
        return SessionOpened(
            self.number, dict(resume), server_ms, self._source.clock.monotonic_ms(), limit_ms
        )

    def answers(self) -> AsyncIterator[Answer]:
        """See :meth:`consumer.ports.source.Session.answers`."""
        return _AnswerIterator(self.next_answer)

    async def next_answer(self) -> Answer:
        """The next answer: one that came while opening, else that of the next long poll.

        Raises:
            SessionFault: the session is over; raised again when asked again.
        """
        if self._early_answers:
            return self._early_answers.popleft()
        if self._fault is not None:
            raise self._fault
        with self._recording_fault():
            if self._interval_ms:
                await asyncio.sleep(self._interval_ms / 1000)
            exchange = await self._poll()
            if exchange.end_reason is None:
                return self._answer(exchange)
            if not exchange.events:
                raise SessionFault(exchange.end_reason)
        # The events came whole: they are handed over first, and the fault is what the next call meets.
        self._record_fault(SessionFault(exchange.end_reason))
        return self._answer(exchange)

    async def aclose(self) -> None:
        """See :meth:`consumer.ports.source.Session.aclose`."""
        http, self._http = self._http, None
        if http is None:
            return
        try:
            server_knows_client = self._fault is None or self._fault.reason.code not in _LOST_CLIENTS
            if server_knows_client and self._client is not None:
                await self._client.disconnect(self._limits.disconnect_ms)
        finally:
            self._record_fault(SessionFault(EndReason("closed", "the session was closed")))
            # Closing waits for the transports to flush; a peer that reads nothing must not hold up the next session.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.disconnect_ms / 1000):
                    await http.close()

    async def _poll(self) -> Exchange:
        requested_ms = self._poll_timeout()
        support = self._source.short_poll_support
        hold_ms = (
            self._hold_ms
            if requested_ms is None or not support.honoured
            else min(requested_ms, self._hold_ms)
        )
        started = self._source.clock.monotonic_ms()
        limit = hold_ms + self._limits.poll_margin_ms
        try:
            exchange = await self._connect(requested_ms, limit)
        except SessionFault as fault:
            if requested_ms is not None and fault.reason.code == "poll_timeout":
                support.honoured = False
            raise
        if requested_ms is not None and requested_ms < self._hold_ms and not exchange.events:
            support.honoured = exchange.received_ms - started <= requested_ms + self._limits.poll_margin_ms
        return exchange

    async def _connect(self, requested_ms: int | None, limit_ms: int) -> Exchange:
        assert self._client is not None
        exchange = await self._client.connect(requested_ms, limit_ms)
        advice = exchange.replies[0].get("advice")
        if isinstance(advice, Mapping):
            self._hold_ms = _milliseconds(advice.get("timeout")) or self._hold_ms
            self._interval_ms = _milliseconds(advice.get("interval"))
        return exchange

    def _buffer_events(self, exchange: Exchange) -> None:
        """Events may come with any answer once a channel is subscribed: none is swallowed."""
        if exchange.end_reason is not None:
            raise SessionFault(exchange.end_reason)
        if exchange.events:
            self._early_answers.append(self._answer(exchange))

    def _answer(self, exchange: Exchange) -> Answer:
        return Answer(self.number, exchange.events, exchange.body, exchange.server_ms, exchange.received_ms)

    def _recording_fault(self) -> _FaultRecorder:
        return _FaultRecorder(self._record_fault)

    def _record_fault(self, fault: SessionFault) -> None:
        if self._fault is None:
            self._fault = fault
            if fault.reason.remedy is Remedy.REAUTHENTICATE and self._token is not None:
                # Only this session knows which token was refused; a newer one that REST obtained meanwhile stays.
                self._source.tokens.invalidate(self._token)


class _FaultRecorder:
    """Notes the fault that leaves its block."""

    def __init__(self, record_fault: Callable[[SessionFault], None]) -> None:
        self._record_fault = record_fault

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, SessionFault):
            self._record_fault(error)


class _AnswerIterator:
    """The answers as an iterator that holds nothing: one that is abandoned leaves no suspended generator behind."""

    def __init__(self, next_answer: Callable[[], Awaitable[Answer]]) -> None:
        self._next_answer = next_answer

    def __aiter__(self) -> _AnswerIterator:
        return self

    async def __anext__(self) -> Answer:
        return await self._next_answer()


def _milliseconds(value: object) -> int:
    """A duration of the server's advice; 0 where it is none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0
