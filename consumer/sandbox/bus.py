"""The event bus: publication order, replay ids, retention, and the ledger.

An event gets its place on the bus when it is *published*, and its replay id says that place: ids
increase but leave gaps. Delivery follows the bus, so a client that resumes after a replay id gets
everything that was published later, however late that was compared with the commit. That is why
reordering is modelled here and not at delivery: a held event is simply published after younger ones,
and no resume can lose it.

The bus forgets events after the retention time (72 hours of org time, as Salesforce documents for
change events): their ids become invalid. The ledger is the same sequence without forgetting; tests
compare against it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from consumer.sandbox.change_events import ChangeEvent
from consumer.sandbox.clock import MillisecondClock
from consumer.sandbox.schema import STEP_TRACKER, TRACKER

# An injected event may be too broken to belong to an entity; it then travels on every channel.
EVERY_CHANNEL: Final = "*"

ALL_CHANGES: Final = "/data/ChangeEvents"

# 22 base64url characters: a fingerprint of the field set, one per entity.
_SCHEMA_IDS: Final = {TRACKER: "nGk2xVw0QzO5sT8aYcJr1A", STEP_TRACKER: "h4LpQe7uRmC9dKf3WbXz0g"}
_OTHER_SCHEMA: Final = "JPyUm_b7b4SSjXobT5DOPg"


def entity_channel(entity: str) -> str:
    """The single-entity channel of a standard object."""
    return f"/data/{entity}ChangeEvent"


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event with its place: `position` counts from 0, `at` is org time in epoch ms, `data` its JSON on the wire."""

    position: int
    replay_id: int
    entity: str
    at: int
    data: bytes

    def message(self, channel: str) -> bytes:
        """The Bayeux message that carries this event on `channel`."""
        return b'{"data":%b,"channel":"%b"}' % (self.data, channel.encode())

    def decoded(self, channel: str | None = None) -> dict[str, Any]:
        """The message as an object; without a channel, on that of its entity."""
        default_channel = ALL_CHANGES if self.entity == EVERY_CHANNEL else entity_channel(self.entity)
        message: dict[str, Any] = orjson.loads(self.message(channel or default_channel))
        return message


class ChannelCatalogue:
    """Which entities each channel carries; a channel nobody configured does not exist."""

    def __init__(self, *, selected: tuple[str, ...], custom: dict[str, tuple[str, ...]]) -> None:
        self._entities = {ALL_CHANGES: frozenset(selected)}
        self._entities |= {entity_channel(entity): frozenset({entity}) for entity in selected}
        self._entities |= {name: frozenset(entities) for name, entities in custom.items()}

    def entities(self, channel: str) -> frozenset[str] | None:
        """The entities on `channel`, or None when there is no such channel."""
        return self._entities.get(channel)


class EventBus:
    """Publishes events in order and keeps them for `retention_ms` of org time."""

    def __init__(self, *, clock: MillisecondClock, seed: int, retention_ms: int = 72 * 3_600_000) -> None:
        self.log: list[PublishedEvent] = []
        self.counters: Counter[str] = Counter()
        self.on_publish: Callable[[], None] = lambda: None
        self._clock = clock
        self._retention_ms = retention_ms
        self._random = random.Random(f"bus-{seed}")
        self._replay_id = 37_904_279
        self._positions: dict[int, int] = {}
        self._floor = 0
        self._held: list[tuple[int, int, ChangeEvent]] = []
        self._hold_count = 0
        self._newest_order = (0, 0)

    def publish(self, event: ChangeEvent) -> None:
        """Give the event its place now."""
        commit_order = (event.commit_number, event.sequence_number)
        if commit_order < self._newest_order:
            self.counters["late"] += 1
        else:
            self._newest_order = commit_order
        self._append(event.entity, _data(event))

    def hold(self, event: ChangeEvent, due_ms: int) -> None:
        """Publish the event when `release` is told a time of at least `due_ms`."""
        self._hold_count += 1
        heapq.heappush(self._held, (due_ms, self._hold_count, event))

    def release(self, now_ms: int) -> None:
        """Publish every held event that is due."""
        while self._held and self._held[0][0] <= now_ms:
            self.publish(heapq.heappop(self._held)[2])

    def release_all(self) -> None:
        """Publish every held event now, in the order in which they were due."""
        while self._held:
            self.publish(heapq.heappop(self._held)[2])

    @property
    def next_due(self) -> int | None:
        """When the next held event is due (in the caller's ms), or None when nothing is held."""
        return self._held[0][0] if self._held else None

    @property
    def held(self) -> int:
        """How many events are waiting to be published."""
        return len(self._held)

    def inject(self, data: Any, *, entity: str = EVERY_CHANNEL) -> int:
        """Publish a message whose `data` is any JSON value; returns its replay id.

        An object without `event` gets `{"event": {"replayId": …}}` as real events have it; anything else goes out
        as it is. `entity` decides the channels.
        """
        if isinstance(data, bytes):
            data = orjson.loads(data)
        if isinstance(data, dict) and "event" not in data:
            return self._append(entity, orjson.dumps({**data, "event": {"replayId": None}})[:-6])
        return self._append(entity, orjson.dumps(data), complete=True)

    def _append(self, entity: str, data: bytes, *, complete: bool = False) -> int:
        self._replay_id += 1 if self._random.random() < 0.7 else self._random.randrange(2, 40)
        published = PublishedEvent(
            len(self.log),
            self._replay_id,
            entity,
            self._clock(),
            data if complete else b"%b%d}}" % (data, self._replay_id),
        )
        self._positions[self._replay_id] = published.position
        self.log.append(published)
        self.on_publish()
        return self._replay_id

    @property
    def floor(self) -> int:
        """The position of the oldest event that is still stored."""
        oldest = self._clock() - self._retention_ms
        while self._floor < len(self.log) and self.log[self._floor].at < oldest:
            self._floor += 1
        return self._floor

    @property
    def tip(self) -> int:
        """The position that the next event will get."""
        return len(self.log)

    def resume_after(self, replay_id: int) -> int | None:
        """The position after a stored replay id (-1: the tip, -2: all that is stored), or None when it is invalid."""
        if replay_id == -1:
            return self.tip
        if replay_id == -2:
            return self.floor
        position = self._positions.get(replay_id)
        if position is None or position < self.floor:
            return None
        return position + 1

    def expire(self, through: int | None = None) -> int:
        """Forget events up to and including replay id `through` (default: all); returns how many."""
        before = self.floor
        if through is None:
            self._floor = self.tip
        else:
            while self._floor < self.tip and self.log[self._floor].replay_id <= through:
                self._floor += 1
        return self._floor - before


class Ledger:
    """Everything ever published, in bus order, exactly as on the wire."""

    def __init__(self, bus: EventBus, channels: ChannelCatalogue) -> None:
        self._bus = bus
        self._channels = channels

    def __len__(self) -> int:
        return len(self._bus.log)

    def __iter__(self) -> Iterator[PublishedEvent]:
        return iter(self._bus.log)

    def entries(self, *, channel: str | None = None, after: int | None = None) -> list[PublishedEvent]:
        """The events on `channel` (default: all events) published after replay id `after` (default: from the start)."""
        entities = None if channel is None else self._channels.entities(channel) or frozenset()
        return [
            entry
            for entry in self._bus.log
            if (after is None or entry.replay_id > after)
            and (entities is None or entry.entity in entities or entry.entity == EVERY_CHANNEL)
        ]

    def messages(self, *, channel: str | None = None, after: int | None = None) -> list[dict[str, Any]]:
        """The same as decoded Bayeux messages; without a channel, each on the channel of its entity."""
        return [entry.decoded(channel) for entry in self.entries(channel=channel, after=after)]

    def replay_ids(self, *, channel: str | None = None, after: int | None = None) -> list[int]:
        """The replay ids of `entries`."""
        return [entry.replay_id for entry in self.entries(channel=channel, after=after)]


def _data(event: ChangeEvent) -> bytes:
    """The event's JSON up to the digits of its replay id, which `_append` supplies."""
    schema = _SCHEMA_IDS.get(event.entity, _OTHER_SCHEMA)
    return b'{"schema":"%b","payload":%b,"event":{"replayId":' % (
        schema.encode(),
        orjson.dumps(event.payload),
    )
