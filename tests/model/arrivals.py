"""What one tenure was given and when; whether what it commits was held back for as long as it must be.

Rules (a) to (c) of the order: a change may go once ``lateness`` of time with answered polls has passed since it arrived, or ``window``
changes have arrived after it and every other channel has delivered a greater key, or ``max_hold`` of wall time has passed. And whatever
goes, everything smaller that was already there goes before it.
"""

from dataclasses import dataclass
from typing import Any

from consumer.ingest.options import IngestOptions
from tests.model.model import Change, Model, changes_of


@dataclass
class Arrival:
    at_ms: int
    answered_ms: int
    ordinal: int
    step: int
    channel: str


class Arrivals:
    """Arrivals of one tenure, in its own time."""

    def __init__(self, model: Model, options: IngestOptions) -> None:
        self._told = model.told
        self._options = options
        self._first: dict[Change, Arrival] = {}
        self._greatest: dict[str, tuple[int, int, int]] = {}
        self._answered_ms = 0
        self._since_ms: int | None = None
        self._count = 0
        self._step = 0
        self._gone: list[Change] = []

    def session(self, at_ms: int | None) -> None:
        """A session opened, or (None) ended."""
        self._since_ms = at_ms

    def answer(self, messages: list[dict[str, Any]], now_ms: int) -> None:
        if self._since_ms is not None:
            self._answered_ms += now_ms - self._since_ms
        self._since_ms = now_ms
        for message in messages:
            for change in changes_of(message):
                channel, key = message["channel"], self._told[change].key
                self._count += 1
                self._greatest[channel] = max(self._greatest.get(channel, key), key)
                self._first.setdefault(
                    change, Arrival(now_ms, self._answered_ms, self._count, self._step, channel)
                )

    def committed(self, fresh: list[Change], now_ms: int) -> None:
        """A commit of this tenure took these."""
        for change in fresh:
            arrival = self._first.get(change)
            assert arrival is not None, f"{change} was committed and never delivered to this tenure"
            assert self._may_go(change, arrival, now_ms), f"{change} was not held back"
        self._gone += fresh

    def step_ended(self, seen: dict[str, set[str]]) -> None:
        """Everything that may go has gone: nothing that was there before this step is left behind something greater."""
        if self._gone:
            top = max(self._told[change].key for change in self._gone)
            for change, arrival in self._first.items():
                record, identity = change
                if (
                    arrival.step < self._step
                    and self._told[change].key < top
                    and identity not in seen.get(record, ())
                ):
                    overtaken = [one for one in self._gone if self._told[one].key > self._told[change].key]
                    raise AssertionError(f"{change} was there, and was overtaken by {overtaken[0]}")
        self._gone.clear()
        self._step += 1

    def _may_go(self, change: Change, arrival: Arrival, now_ms: int) -> bool:
        options = self._options
        others = all(
            self._greatest.get(channel, (-1,)) > self._told[change].key
            for channel in options.channels
            if channel != arrival.channel
        )
        return (
            self._answered_ms - arrival.answered_ms >= options.lateness_ms
            or now_ms - arrival.at_ms >= options.max_hold_ms
            or (self._count - arrival.ordinal >= options.window and others)
            or (not options.strict and (others or len(options.channels) == 1))
        )
