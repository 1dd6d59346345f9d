"""Streaming sessions: connected clients, their subscriptions and cursors.

A session is created by a handshake. It is forgotten on disconnect, when the client has not polled for the reconnect
time-out (40 seconds after any answer, as Salesforce documents), or by a fault. It has one cursor on the bus per
subscription. Events handed to a poll advance the cursors, whether or not the socket is still open; as in Salesforce,
a client that needs them again subscribes with an older replay id.

Two cookies belong to a session: `BAYEUX_BROWSER`, and `sfdc-stream`, which routes to the server that holds the
session and whose value a client must not re-encode.
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
    """An acknowledged channel: its entities, and the bus position read up to."""

    channel: str
    entities: frozenset[str]
    cursor: int


@dataclass(slots=True, eq=False)
class StreamingSession:
    """A client from its handshake to the end of its session; times in loop seconds."""

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
        """Return True if a poll would deliver an event."""
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
        """Take the next messages in bus order and advance the cursors.

        At most `max_events` and about `max_bytes`.
        """
        messages = self._take_duplicates(faults)
        size = sum(map(len, messages))
        subscriptions = list(self.subscriptions.values())
        position = min((subscription.cursor for subscription in subscriptions), default=bus.tip)
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
    """All sessions by client id.

    Args:
        seed: of client ids and cookies.
        lifetime: seconds without a poll after which a session is forgotten.
        route_lifetime: seconds for which a routing cookie is valid.
    """

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
        """Create a session on a known route; a client keeps the browser cookie it has."""
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

    def route(self, now: float, current: str | None = None) -> str:
        """Return the client's routing cookie while it is valid, else a new one.

        A new value is `!` and base64, so it contains `/`, `+` and `=`.
        """
        if current is not None and self.route_is_valid(current, now):
            return current
        for expired in [route for route, until in self._routes.items() if until <= now]:
            del self._routes[expired]
        route = "!//" + base64.b64encode(self._random.randbytes(56)).decode()
        self._routes[route] = now + self._route_lifetime
        return route

    def route_is_valid(self, route: str, now: float) -> bool:
        """Return True while a routing cookie routes to this server."""
        return self._routes.get(route, now) > now

    @property
    def route_lifetime(self) -> float:
        """Seconds for which a routing cookie is valid."""
        return self._route_lifetime

    def _random_word(self, length: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=length))

    def find(self, client_id: object, now: float) -> StreamingSession | None:
        """Return a client's session, or None if it is unknown or was silent too long."""
        self.forget_expired(now)
        return self._sessions.get(client_id) if isinstance(client_id, str) else None

    def forget_expired(self, now: float) -> None:
        """Forget sessions silent for longer than their lifetime, unless a poll is open."""
        for session in tuple(self):
            if not session.polling and now - session.last_seen > self._lifetime:
                self.forget(session)

    def forget(self, session: StreamingSession) -> None:
        """End a session; its open poll, if any, is answered at once."""
        self._sessions.pop(session.client_id, None)
        session.forgotten = True
        session.wake.set()

    def wake_all(self) -> None:
        """Wake every open poll, to check again for events and faults."""
        for session in self:
            session.wake.set()


def _carries(subscription: ChannelSubscription, entity: str) -> bool:
    return entity in subscription.entities or entity == EVERY_CHANNEL
