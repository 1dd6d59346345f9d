"""Streaming sessions: who is connected, what they subscribed to, and how far each got.

A session is created by a handshake and forgotten on disconnect, when the client has not polled for the
reconnect time-out (40 seconds after any answer, as Salesforce documents), or when the weather says so. It owns a
cursor on the bus per subscription; handing events to a poll moves the cursors, whether or not the
socket still lives. A client that wants them again subscribes with an older replay id, as in reality.

Two cookies belong to a session: `BAYEUX_BROWSER`, and `sfdc-stream`, which routes to the server that
holds it and whose value no client may re-encode.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from consumer.sandbox.bus import EVERY_CHANNEL, EventBus
from consumer.sandbox.faults import Faults

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(slots=True)
class ChannelSubscription:
    """One acknowledged channel: what it carries and the bus position it has been read up to."""

    channel: str
    entities: frozenset[str]
    cursor: int


@dataclass(slots=True, eq=False)
class StreamingSession:
    """One client between handshake and end; times are event-loop seconds."""

    client_id: str
    user_id: str
    browser: str
    route_until: float
    last_seen: float
    connected: bool = False
    polls: int = 0
    delivered: int = 0
    subscriptions: dict[str, ChannelSubscription] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    forgotten: bool = False
    disconnected: bool = False
    polling: int = 0
    duplicates: list[bytes] = field(default_factory=list)

    def has_events(self, bus: EventBus) -> bool:
        """Whether a poll would find anything to deliver."""
        if self.duplicates:
            return True
        floor = bus.floor
        for subscription in self.subscriptions.values():
            subscription.cursor = max(subscription.cursor, floor)
            while subscription.cursor < bus.tip:
                if _carries(subscription, bus.log[subscription.cursor].entity):
                    return True
                subscription.cursor += 1
        return False

    def next_messages(self, bus: EventBus, faults: Faults, *, max_events: int, max_bytes: int) -> list[bytes]:
        """The next messages in bus order, moving the cursors; at most `max_events` and about `max_bytes`."""
        messages = self._take_duplicates(faults)
        size = sum(map(len, messages))
        subscriptions = list(self.subscriptions.values())
        position = min((each.cursor for each in subscriptions), default=bus.tip)
        position = max(position, bus.floor)
        while position < bus.tip and len(messages) < max_events and size < max_bytes:
            published = bus.log[position]
            for subscription in subscriptions:
                if subscription.cursor <= position and _carries(subscription, published.entity):
                    message = published.message(subscription.channel)
                    messages.append(message)
                    size += len(message)
                    if faults.may_duplicate and faults.next_fault("duplicate") is not None:
                        self.duplicates.append(message)
            position += 1
        for subscription in subscriptions:
            subscription.cursor = max(subscription.cursor, position)
        self.delivered += len(messages)
        return messages

    def _take_duplicates(self, faults: Faults) -> list[bytes]:
        duplicates, self.duplicates = self.duplicates, []
        if duplicates:
            faults.count_fault("duplicate", len(duplicates))
        return duplicates


class StreamingSessions:
    """All sessions by client id; `lifetime` is the reconnect time-out and `route_lifetime` that of the routing cookie (s)."""

    def __init__(self, *, seed: int, lifetime: float, route_lifetime: float) -> None:
        self._random = random.Random(f"sessions-{seed}")
        self._lifetime = lifetime
        self._route_lifetime = route_lifetime
        self._sessions: dict[str, StreamingSession] = {}
        self._routes: dict[str, float] = {}
        self.created = 0

    def __iter__(self) -> Iterator[StreamingSession]:
        return iter(self._sessions.values())

    def __len__(self) -> int:
        return len(self._sessions)

    def create(self, user_id: str, now: float, *, browser: str | None, route: str) -> StreamingSession:
        """A new session on a known route; a browser that already has its cookie keeps it."""
        self.created += 1
        session = StreamingSession(
            client_id=self._random_word(self._random.randrange(26, 31)),
            user_id=user_id,
            browser=browser or self._random_word(26),
            route_until=self._routes[route],
            last_seen=now,
        )
        self._sessions[session.client_id] = session
        return session

    def route(self, now: float, known: str | None = None) -> str:
        """The routing cookie's value: the one the client has while it lasts, else a new one.

        A new value is `!` and base64, so it holds `/`, `+` and `=`.
        """
        if known is not None and self.route_is_valid(known, now):
            return known
        for expired in [route for route, until in self._routes.items() if until <= now]:
            del self._routes[expired]
        route = "!//" + base64.b64encode(self._random.randbytes(56)).decode()
        self._routes[route] = now + self._route_lifetime
        return route

    def route_is_valid(self, route: str, now: float) -> bool:
        """Whether a routing cookie still leads to this server."""
        return self._routes.get(route, now) > now

    @property
    def route_lifetime(self) -> float:
        """Seconds for which a routing cookie is issued."""
        return self._route_lifetime

    def _random_word(self, length: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=length))

    def find(self, client_id: object, now: float) -> StreamingSession | None:
        """The session of a client, unless it is unknown or has been silent for too long."""
        self.forget_expired(now)
        return self._sessions.get(client_id) if isinstance(client_id, str) else None

    def forget_expired(self, now: float) -> None:
        """Forget sessions that have no open poll and have been silent for longer than their lifetime."""
        for session in [each for each in self if not each.polling and now - each.last_seen > self._lifetime]:
            self.forget(session)

    def forget(self, session: StreamingSession) -> None:
        """End a session; its open poll, if any, is answered at once."""
        self._sessions.pop(session.client_id, None)
        session.forgotten = True
        session.wake.set()

    def wake_all(self) -> None:
        """Make every open poll look again."""
        for session in self:
            session.wake.set()


def _carries(subscription: ChannelSubscription, entity: str) -> bool:
    return entity in subscription.entities or entity == EVERY_CHANNEL
