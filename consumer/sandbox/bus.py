"""The event bus: publication order, replay ids, retention, and the ledger.

An event gets its position on the bus when it is *published*, and its replay id names that position: ids increase, with
gaps. Delivery follows the bus, so a client that resumes after a replay id receives everything published later, however
long after its commit. That is why reordering is simulated here and not at delivery: a held event is published after
younger ones, and no resume can lose it.

The bus drops events after the retention time (72 hours of org time, as Salesforce documents for change events), which
makes their ids invalid. The ledger is the same sequence without retention; tests compare against it.
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

# An injected event may be too broken to have an entity; it is then delivered on every channel.
EVERY_CHANNEL: Final = "*"

ALL_CHANGES: Final = "/data/ChangeEvents"

# Fingerprint of each entity's fields: 22 base64url characters.
_SCHEMA_IDS: Final = {TRACKER: "nGk2xVw0QzO5sT8aYcJr1A", STEP_TRACKER: "h4LpQe7uRmC9dKf3WbXz0g"}
_OTHER_SCHEMA: Final = "JPyUm_b7b4SSjXobT5DOPg"


def entity_channel(entity: str) -> str:
    """Name the single-entity channel of a standard object."""
    return f"/data/{entity}ChangeEvent"


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event on the bus.

    Attributes:
        position: on the bus, from 0.
        replay_id: on the wire.
        entity: name of the object, or `EVERY_CHANNEL`.
        at: time of publication, org time in epoch ms.
        data: JSON on the wire.
    """

    position: int
    replay_id: int
    entity: str
    at: int
    data: bytes

    def message(self, channel: str) -> bytes:
        """Build the Bayeux message with this event on `channel`."""
        return b'{"data":%b,"channel":"%b"}' % (self.data, channel.encode())

    def decoded(self, channel: str | None = None) -> dict[str, Any]:
        """Decode the message; the default channel is that of its entity."""
        default_channel = ALL_CHANGES if self.entity == EVERY_CHANNEL else entity_channel(self.entity)
        message: dict[str, Any] = orjson.loads(self.message(channel or default_channel))
        return message


class ChannelCatalogue:
    """Entities of each channel; a channel that is not configured does not exist."""

    def __init__(self, *, selected: tuple[str, ...], custom: dict[str, tuple[str, ...]]) -> None:
        self._entities = {ALL_CHANGES: frozenset(selected)}
        self._entities |= {entity_channel(entity): frozenset({entity}) for entity in selected}
        self._entities |= {name: frozenset(entities) for name, entities in custom.items()}

    def entities(self, channel: str) -> frozenset[str] | None:
        """Return the entities on `channel`, or None if there is no such channel."""
        return self._entities.get(channel)


class EventBus:
    """Publish events in order, and retain them for `retention_ms` of org time."""

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
        """Publish the event now."""
        commit_order = (event.commit_number, event.sequence_number)
        if commit_order < self._newest_order:
            self.counters["late"] += 1
        else:
            self._newest_order = commit_order
        self._append(event.entity, _data(event))

    def hold(self, event: ChangeEvent, due_ms: int) -> None:
        """Publish the event at the first `release` with a time of at least `due_ms`."""
        self._hold_count += 1
        heapq.heappush(self._held, (due_ms, self._hold_count, event))

    def release(self, now_ms: int) -> None:
        """Publish every held event that is due."""
        while self._held and self._held[0][0] <= now_ms:
            self.publish(heapq.heappop(self._held)[2])

    def release_all(self) -> None:
        """Publish every held event now, in the order of their due times."""
        while self._held:
            self.publish(heapq.heappop(self._held)[2])

    @property
    def next_due(self) -> int | None:
        """Due time of the next held event (on the caller's clock, in ms), or None."""
        return self._held[0][0] if self._held else None

    @property
    def held(self) -> int:
        """Number of events that wait to be published."""
        return len(self._held)

    def inject(self, data: Any, *, entity: str = EVERY_CHANNEL) -> int:
        """Publish a message whose `data` is any JSON value; return its replay id.

        An object without `event` gets `{"event": {"replayId": …}}` as real events have; any other value is published
        unchanged. `entity` decides the channels.
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
        """Position of the oldest retained event."""
        oldest = self._clock() - self._retention_ms
        while self._floor < len(self.log) and self.log[self._floor].at < oldest:
            self._floor += 1
        return self._floor

    @property
    def tip(self) -> int:
        """Position of the next event."""
        return len(self.log)

    def resume_after(self, replay_id: int) -> int | None:
        """Return the position after a replay id, or None if the id is invalid.

        As in Salesforce, -1 is the tip and -2 the oldest retained event.
        """
        if replay_id == -1:
            return self.tip
        if replay_id == -2:
            return self.floor
        position = self._positions.get(replay_id)
        if position is None or position < self.floor:
            return None
        return position + 1

    def expire(self, through: int | None = None) -> int:
        """Drop events through replay id `through` (default: all); return their number."""
        before = self.floor
        if through is None:
            self._floor = self.tip
        else:
            while self._floor < self.tip and self.log[self._floor].replay_id <= through:
                self._floor += 1
        return self._floor - before


class Ledger:
    """Every event ever published, in bus order, exactly as on the wire."""

    def __init__(self, bus: EventBus, channels: ChannelCatalogue) -> None:
        self._bus = bus
        self._channels = channels

    def __len__(self) -> int:
        return len(self._bus.log)

    def __iter__(self) -> Iterator[PublishedEvent]:
        return iter(self._bus.log)

    def entries(self, *, channel: str | None = None, after: int | None = None) -> list[PublishedEvent]:
        """List events of `channel` (default: all) after replay id `after` (default: all)."""
        entities = None if channel is None else self._channels.entities(channel) or frozenset()
        return [
            entry
            for entry in self._bus.log
            if (after is None or entry.replay_id > after)
            and (entities is None or entry.entity in entities or entry.entity == EVERY_CHANNEL)
        ]

    def messages(self, *, channel: str | None = None, after: int | None = None) -> list[dict[str, Any]]:
        """List `entries` as decoded messages; the default channel is that of each entity."""
        return [entry.decoded(channel) for entry in self.entries(channel=channel, after=after)]

    def replay_ids(self, *, channel: str | None = None, after: int | None = None) -> list[int]:
        """List the replay ids of `entries`."""
        return [entry.replay_id for entry in self.entries(channel=channel, after=after)]


def _data(event: ChangeEvent) -> bytes:
    """Encode the event up to the digits of its replay id, which `_append` adds."""
    schema = _SCHEMA_IDS.get(event.entity, _OTHER_SCHEMA)
    return b'{"schema":"%b","payload":%b,"event":{"replayId":' % (
        schema.encode(),
        orjson.dumps(event.payload),
    )
