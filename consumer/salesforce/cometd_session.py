"""CometD sessions, each disposable: the implementation of the source port.

A session follows one line, and any deviation is a :class:`SessionFault` with its reason::

    token → handshake → first connect (answered at once) → every channel subscribed → long polls, one at a time

A session has no task and no recovery: a poll runs only while the caller waits for the next answer, so no answer can overtake another, pile
up or be left behind. The first long poll starts after every channel is subscribed; earlier, live events of one channel would overtake the
replayed ones of another. The supervisor opens the next session with new connections and an empty cookie jar, because a stale routing cookie
makes ``403::Unknown client`` recur forever.

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

from consumer.backoff import Backoff
from consumer.clock import Clock
from consumer.errors import EndReason, Remedy, SessionFault
from consumer.ports.source import Answer, SessionOpened
from consumer.salesforce.bayeux import Exchange
from consumer.salesforce.cometd_client import CometdClient, RequestLimits
from consumer.salesforce.token_cache import TokenCache
from consumer.salesforce.token_endpoint import AccessToken

__all__ = ["CometdSession", "CometdSource"]

_MAX_HOLD_MS = 600_000
"""Longest time a server may hold a poll: with a longer one nobody would notice a dead connection."""
_MAX_INTERVAL_MS = 40_000
"""Longest pause between polls; documented: Salesforce forgets a client that stays away longer."""
_INSTANT_MS = 50
"""An empty answer within this time was not held, unless it was asked for so early."""
_EMPTY_ANSWER_WAITS = Backoff(10, 1_000)
"""Waits after empty answers in a row that the server did not hold."""

# After these the server has no client that could be disconnected.
_LOST_CLIENTS = frozenset(
    {"unknown_client", "handshake_missing", "server_disconnect", "authentication_invalid"}
)


class CometdSource:
    """Factory of CometD sessions; implements :class:`consumer.ports.source.Source`."""

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
        # A failed session leaves sockets, tasks and tracebacks in reference cycles, which the collector rarely reaches in a heap of
        # long-lived records (consumer.app). A collection takes some 10 ms, and sessions end once in hours, or repeatedly in a storm.
        gc.collect()
        return CometdSession(self, number, poll_timeout)


@dataclass(slots=True)
class _ShortPollSupport:
    """Record of the server's support for short polls.

    Salesforce does not document that it honours a client's ``advice.timeout``. If it does not, a short poll looks like a dead connection;
    after the first of these, short polls get the server's own time before they count as unanswered.

    Attributes:
        honoured: whether the last short poll was answered in time.
    """

    honoured: bool = True


class CometdSession:
    """CometD session; implements :class:`consumer.ports.source.Session`.

    :meth:`aclose` must be called even if :meth:`open` failed.
    """

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
        self._instant_answers = 0
        self._hold_ms = source.limits.poll_ms

    async def open(self, resume: Mapping[str, str]) -> SessionOpened:
        """See :meth:`consumer.ports.source.Session.open`.

        Raises:
            SessionFault: any outcome but a clean acknowledgement of every channel.
            AuthenticationFailed: no token could be obtained.
            ValueError: ``resume`` contains no channel.
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
        """Return the next answer: one that arrived while opening, else the next poll's.

        Raises:
            SessionFault: the session is over; raised again by every further call.
        """
        if self._early_answers:
            return self._early_answers.popleft()
        if self._fault is not None:
            raise self._fault
        with self._recording_fault():
            wait_ms = max(self._interval_ms, self._empty_answer_wait_ms())
            if wait_ms:
                await asyncio.sleep(wait_ms / 1000)
            exchange = await self._poll()
            if exchange.end_reason is None:
                return self._answer(exchange)
            if not exchange.events:
                raise SessionFault(exchange.end_reason)
        # The events arrived whole: they are returned first, and the next call raises the fault.
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
            # Closing waits for the transports to flush; a peer that reads nothing must not delay the next session.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.disconnect_ms / 1000):
                    await http.close()

    async def _poll(self) -> Exchange:
        requested_ms = self._poll_timeout()
        if requested_ms is not None and requested_ms >= self._hold_ms:
            # The server answers sooner by itself. A later time-out would make it hold the poll past the end of our own wait, and beyond
            # 24.8 days overflows the 32-bit timer of a server on Node, which then answers at once, again and again.
            requested_ms = None
        support = self._source.short_poll_support
        hold_ms = self._hold_ms if requested_ms is None or not support.honoured else requested_ms
        started_ms = self._source.clock.monotonic_ms()
        try:
            exchange = await self._connect(requested_ms, hold_ms + self._limits.poll_margin_ms)
        except SessionFault as fault:
            if requested_ms is not None and fault.reason.code == "poll_timeout":
                support.honoured = False
            raise
        held_ms = exchange.received_ms - started_ms
        is_instant = not exchange.events and held_ms < min(_INSTANT_MS, hold_ms)
        self._instant_answers = self._instant_answers + 1 if is_instant else 0
        if requested_ms is not None and not exchange.events:
            support.honoured = held_ms <= requested_ms + self._limits.poll_margin_ms
        return exchange

    def _empty_answer_wait_ms(self) -> int:
        """Pause before the next poll while the server answers polls at once and empty."""
        return _EMPTY_ANSWER_WAITS.delay_ms(self._instant_answers) if self._instant_answers else 0

    async def _connect(self, requested_ms: int | None, limit_ms: int) -> Exchange:
        assert self._client is not None
        exchange = await self._client.connect(requested_ms, limit_ms)
        advice = exchange.replies[0].get("advice")
        if isinstance(advice, Mapping):
            if not requested_ms:
                # What a short poll answers may repeat what was asked of it: the server's own time-out stays as it was.
                self._hold_ms = _milliseconds(advice.get("timeout"), _MAX_HOLD_MS) or self._hold_ms
            self._interval_ms = _milliseconds(advice.get("interval"), _MAX_INTERVAL_MS)
        return exchange

    def _buffer_events(self, exchange: Exchange) -> None:
        """Buffer an answer's events; any answer may carry some after a subscription."""
        if exchange.end_reason is not None:
            raise SessionFault(exchange.end_reason)
        if exchange.events:
            self._early_answers.append(self._answer(exchange))

    def _answer(self, exchange: Exchange) -> Answer:
        return Answer(
            self.number,
            exchange.events,
            exchange.body,
            exchange.server_ms,
            exchange.received_ms,
            exchange.unusable,
            exchange.repaired,
            exchange.spans,
        )

    def _recording_fault(self) -> _FaultRecorder:
        return _FaultRecorder(self._record_fault)

    def _record_fault(self, fault: SessionFault) -> None:
        if self._fault is None:
            self._fault = fault
            if fault.reason.remedy is Remedy.REAUTHENTICATE and self._token is not None:
                # Only this session knows which token was refused; a newer one that REST obtained meanwhile is kept.
                self._source.tokens.invalidate(self._token)


class _FaultRecorder:
    """Context manager that records a fault raised in its block."""

    def __init__(self, record_fault: Callable[[SessionFault], None]) -> None:
        self._record_fault = record_fault

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, SessionFault):
            self._record_fault(error)


class _AnswerIterator:
    """Iterator of answers without state, which leaves no suspended generator behind."""

    def __init__(self, next_answer: Callable[[], Awaitable[Answer]]) -> None:
        self._next_answer = next_answer

    def __aiter__(self) -> _AnswerIterator:
        return self

    async def __anext__(self) -> Answer:
        return await self._next_answer()


def _milliseconds(value: object, maximum: int) -> int:
    """Convert a duration of the server's advice to milliseconds, up to a maximum.

    0 if it is invalid.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        return 0
    return int(min(value, maximum))
