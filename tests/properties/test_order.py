"""The order of changes across outages: nothing is released before its elder sibling had its chance, and nothing is held for ever.

The drawn worlds publish on one to three channels, each of which keeps its own order; sessions open and end at any moment, and after an
opening the server hands over what was published meanwhile, in portions of any size, one channel long before another. Time is drawn too.
"""

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.ingest.catch_up import QUIET_MS
from consumer.ingest.sequencer import Sequencer
from consumer.ingest.stream_clock import StreamClock

LATENESS_MS, MAX_HOLD_MS, MAX_CATCH_UP_MS, POLL_LIMIT_MS = 1_000, 5_000, 60_000, 125_000
EPOCH_MS = 1_700_000_000_000


@dataclass
class Bus:
    """What Salesforce publishes and a session reads."""

    channels: tuple[str, ...]
    now_ms: int = 0
    published: int = 0
    waiting: dict[str, deque] = field(default_factory=dict)
    unread_since_ms: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self.waiting = {channel: deque() for channel in self.channels}

    def publish(self, channel):
        self.published += 1
        if not self.waiting[channel]:
            self.unread_since_ms[channel] = self.now_ms
        self.waiting[channel].append((self.published, (EPOCH_MS + self.now_ms) // 1000 * 1000))

    def read(self, channel, most):
        queue = self.waiting[channel]
        read = [queue.popleft() for _ in range(min(most, len(queue)))]
        if read:
            self.unread_since_ms[channel] = self.now_ms
        return read


class Reader:
    """The ordering half of ingest, with the bus at the other end."""

    def __init__(self, channels, window, max_held):
        self.bus = Bus(channels)
        self.time = StreamClock()
        self.sequencer = Sequencer(
            channels,
            lateness_ms=LATENESS_MS,
            window=window,
            max_hold_ms=MAX_HOLD_MS,
            strict=True,
            max_catch_up_ms=MAX_CATCH_UP_MS,
            max_held=max_held,
        )
        self.is_open = False
        self.released = []
        self.arrived_at = {}

    def both(self):
        return {"session_ms": self.time.session_ms(self.bus.now_ms), "answered_ms": self.time.answered_ms}

    def open(self):
        self.time.opened(self.bus.now_ms, None, POLL_LIMIT_MS)
        self.sequencer.catch_up.opened(EPOCH_MS + self.bus.now_ms, **self.both())
        self.is_open = True
        for channel in self.bus.channels:
            self.bus.unread_since_ms[channel] = self.bus.now_ms

    def end(self):
        self.time.ended(self.bus.now_ms)
        self.is_open = False

    def answer(self, portions):
        """One answer of the server: portions per channel; no channel with something to read is left out for as long as a quiet one."""
        self.time.answered(self.bus.now_ms, None)
        messages = []
        for channel in self.bus.channels:
            most = portions.get(channel, 0)
            overdue = self.bus.now_ms - self.bus.unread_since_ms.get(channel, 0) >= QUIET_MS // 2
            messages += [(channel, one) for one in self.bus.read(channel, max(most, int(overdue)))]
        if not messages and any(self.bus.waiting.values()):
            channel = next(channel for channel, queue in self.bus.waiting.items() if queue)
            messages = [(channel, one) for one in self.bus.read(channel, 1)]
        if not messages:
            self.sequencer.catch_up.answered_empty(**self.both())
        for channel, (number, commit_ms) in messages:
            self.arrived_at[number] = self.both()["session_ms"]
            self.sequencer.push((0, number, 1), channel, number, commit_ms=commit_ms, **self.both())

    def pop(self):
        self.released += self.sequencer.pop(**self.both())

    def check_bounds(self, max_held):
        assert len(self.sequencer) < max_held
        session_ms = self.both()["session_ms"]
        for number in self.sequencer.items():
            assert session_ms - self.arrived_at[number] < MAX_CATCH_UP_MS + MAX_HOLD_MS


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 2), st.integers(1, 8)),
        # Time that passes before each answer, how often, and how much of each channel it holds: mostly of one.
        st.tuples(
            st.just("answers"), st.integers(50, 900), st.integers(1, 8), st.integers(0, 2), st.integers(0, 3)
        ),
        st.tuples(st.just("silence"), st.integers(1, 20_000)),
        st.tuples(st.just("outage"), st.integers(1, 100_000), st.lists(st.integers(0, 2), max_size=12)),
    ),
    max_size=40,
)


def play(channels, steps, *, window=50, max_held=10_000, live=True):
    reader = Reader(channels, window, max_held)
    reader.open()
    for step in steps:
        match step:
            case ("publish", which, count):
                for _ in range(count):
                    reader.bus.publish(channels[which % len(channels)])
            case ("answers", ms, times, which, portion) if reader.is_open:
                for _ in range(times):
                    reader.bus.now_ms += ms
                    reader.answer({channels[which % len(channels)]: portion})
                    reader.pop()
                    reader.check_bounds(max_held)
            case ("silence", ms) if not live:
                reader.bus.now_ms += ms
            case ("outage", ms, published):
                reader.end()
                for which in published:
                    reader.bus.now_ms += ms // (len(published) + 1)
                    reader.bus.publish(channels[which % len(channels)])
                reader.pop()
                reader.open()
        reader.pop()
        reader.check_bounds(max_held)
    return reader


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3), STEPS)
def test_what_was_published_in_order_is_released_in_order_whatever_the_outages(count, steps):
    reader = play(tuple("ABC"[:count]), steps)
    if reader.sequencer.forced == 0:
        assert reader.released == sorted(reader.released)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), STEPS, st.integers(2, 6))
def test_no_bound_is_passed_also_with_a_full_hold_and_a_silent_server(count, steps, max_held):
    play(tuple("ABC"[:count]), steps, max_held=max_held, live=False)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), STEPS)
def test_everything_leaves_once_the_stream_is_read_to_its_end(count, steps):
    reader = play(tuple("ABC"[:count]), steps)
    reader.open()
    for _ in range(1_000):
        reader.bus.now_ms += 500
        reader.answer(dict.fromkeys(reader.bus.channels, 5))
        reader.pop()
    assert sorted(reader.released) == list(range(1, reader.bus.published + 1))
