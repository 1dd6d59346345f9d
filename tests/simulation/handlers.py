"""Handlers as people write them: some fail, some hang, some are slow, some never take an event; and a sink that outlives every process.

What a handler does with an event is drawn once, for each handler and event, as a list of attempts; so it does the same in whichever process,
after however many deaths. The sink is outside of all processes: what was done to it stays done. It asks of every call, in the moment of the
call, that everything before it in the run has been done or given up (guarantee 3), and knows in the end what was never done (guarantee 2).
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from consumer.delivery.loading import LoadedHandler
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.plugin import BatchHandler, Context, Failed, Reject, Retry
from consumer.ports.commit import JournalRecord
from consumer.ports.observers.delivery_events import DeadLettered
from tests.support.rigs.delivery import loaded

TIMEOUT_S = 2
KINDS = ("one", "many", "runs")
"""One event at a time with dead letters; batches; only events of runs, and stuck at what fails."""

_PLANS = (
    *((),) * 14,
    ("slow",), ("slow",), ("fail",), ("fail",), ("retry",), ("retry", "fail"), ("hang",), ("reject",), ("never",),
)  # fmt: skip


class Sink:
    """What handlers have done to the rest of the world.

    Args:
        seed: of what they do.
        journal: every record that was committed, in the order of their offsets, as the witness of the store knows it.
    """

    def __init__(self, seed: int, journal: list[JournalRecord]) -> None:
        self._seed = seed
        self.journal = journal
        self.offsets: dict[str, int] = {}
        self.done: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self.given_up: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self.healed = False
        self.violation: str | None = None
        self.figures: Counter[str] = Counter()
        self._plans: dict[tuple[str, str], tuple[str, ...]] = {}

    def behaviour(self, kind: str, event_id: str, attempt: int) -> str:
        """What the handler does with the event, this time."""
        if self.healed:
            return "done"
        plan = self._plans.get((kind, event_id))
        if plan is None:
            plan = self._plans[kind, event_id] = random.Random(f"{self._seed}/{kind}/{event_id}").choice(
                _PLANS
            )
        if plan == ("never",):
            return "fail" if kind != "runs" or attempt < 5 else "done"
        return plan[attempt - 1] if attempt <= len(plan) else "done"

    def reached(self, kind: str, events: Sequence[LifecycleEvent]) -> None:
        """A handler is called."""
        self.figures["deliveries"] += len(events)
        together: set[str] = set()
        done, given_up = self.done[kind], self.given_up[kind]
        for event in events:
            if event.id in done:
                self.figures["deliveries repeated"] += 1
            if event.id in given_up:
                continue  # a dead letter that is tried again comes when it comes
            for earlier in self.journal[: self.offsets[event.id] - 1]:
                if (
                    earlier.tracker_id == event.tracker_id
                    and earlier.id not in done
                    and earlier.id not in given_up
                    and earlier.id not in together
                    and wants(kind, earlier.type)
                ):
                    self.violation = self.violation or (
                        f"guarantee 3: handler {kind} is given {event.id} before it was done with {earlier.id} of the same run"
                    )
            together.add(event.id)


def wants(kind: str, type_: str) -> bool:
    """Whether a handler gets events of this type."""
    return kind != "runs" or type_.startswith("run.")


def make(kind: str, sink: Sink, dice: random.Random) -> LoadedHandler:
    """A handler for one process."""
    if kind == "many":
        return loaded(
            _Many(sink, dice.choice((1, 3, 20)), dice.choice((0, 40))), kind, max_attempts=3, timeout=TIMEOUT_S,
            concurrency=dice.choice((1, 2)),
        )  # fmt: skip

    async def handle(event: LifecycleEvent, ctx: Context) -> None:
        sink.reached(kind, [event])
        match sink.behaviour(kind, event.id, ctx.attempt):
            case "fail":
                raise OSError("the receiver is down")
            case "retry":
                raise Retry(after=1)
            case "reject" if kind == "one":
                raise Reject("no")
            case "hang":
                await asyncio.sleep(3_600)
            case "slow":
                await asyncio.sleep(1)
        sink.done[kind].add(event.id)

    return loaded(
        handle, kind, "run.*" if kind == "runs" else "*", max_attempts=3, timeout=TIMEOUT_S,
        concurrency=dice.choice((1, 3)), on_failure="block" if kind == "runs" else "dead_letter",
    )  # fmt: skip


class _Many(BatchHandler):
    def __init__(self, sink: Sink, batch_max: int, batch_wait: int) -> None:
        self._sink, self.batch_max, self.batch_wait = sink, batch_max, batch_wait

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        sink = self._sink
        sink.reached("many", events)
        failed: dict[str, str | Exception] = {}
        for event in events:
            match sink.behaviour("many", event.id, ctx.attempt):
                case "fail":
                    failed[event.id] = "the receiver refuses it"
                case "retry":
                    failed[event.id] = Retry(after=1)
                case "reject":
                    failed[event.id] = Reject("no")
                case "hang":
                    await asyncio.sleep(3_600)
                case "slow":
                    await asyncio.sleep(0.5)
                    sink.done["many"].add(event.id)
                case _:
                    sink.done["many"].add(event.id)
        if failed:
            raise Failed(failed)


class Observer:
    """Notes when delivery gives an event up, and nothing else."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def observe(self, event: object) -> None:
        if isinstance(event, DeadLettered):
            self._sink.given_up[event.handler].add(event.entry.id)
