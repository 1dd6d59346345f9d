"""A seed is a world, the processes in it, everything that happens to them, and a verdict.

Two or three replicas of the whole service share one store and one org. While the weather is bad, processes are killed between any two steps,
killed in the moment in which the store has done what they asked, frozen and thawed, stopped in order; leases are stolen, clocks jump, disks
fail, sessions break. Then it is calm: everything that stood still goes on, handlers take what they refused, dead letters are tried again.
Whatever was unfinished must come to its end within so many seconds, and what the store, the handlers and the bus then hold must agree.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consumer.delivery import cursor
from consumer.ingest.options import IngestOptions
from consumer.service import Service, ServiceOptions
from consumer.stores import journal_signal
from tests.model.model import Model
from tests.model.rig import THE_ORG
from tests.model.verdict import FAR_MS, judge
from tests.model.world import make_world
from tests.simulation.bus import Bus, Rest, Source
from tests.simulation.faults import Faults
from tests.simulation.fleet import Fleet
from tests.simulation.handlers import KINDS, Observer, Sink, make, wants
from tests.simulation.loop import Loop, Process
from tests.simulation.store import Deed, Outside, SimulatedStore
from tests.simulation.witness import Witness
from tests.support.builders.changes import COMMIT_MS
from tests.support.rigs.observing import Ignore

LEASE_MS, RENEW_MS, GRACE_MS = 4_000, 1_500, 3_000
LOOK_FOR_OTHERS_MS = 2_000
"""How often a reader of the journal looks for what another process has appended, which here is seldom worth it."""
CALM_MS = 240_000
"""Within so much time without trouble everything has come to its end."""
FLY_AFTER_MS = 1_000
FLOWN_MS = 700_000
"""Past whatever is due, and past the ten minutes after which a quiet channel's last position is written."""
MOST_STEPS = 400_000
KILLED_BEFORE_THE_ANSWER = 0.01

HAPPENINGS = {
    "kill": 6,
    "freeze": 5,
    "stop": 3,
    "cut": 3,
    "steal": 3,
    "jump": 4,
    "retry letters": 3,
    "move": 2,
}
"""What happens from outside, and how often."""
SKEWS_MS = (-30_000, -3_000, 0, 3_000, 10_000, 60_000)


class Violation(AssertionError):
    """A guarantee does not hold."""


class Clock:
    """The machine's clocks: the loop's time, and a wall that jumps."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._began_ms = self.monotonic_ms()
        self.skew_ms = 0

    def monotonic_ms(self) -> int:
        return round(self._loop.time() * 1_000)

    def wall_ms(self) -> int:
        return COMMIT_MS + self.monotonic_ms() + self.skew_ms

    def since_ms(self) -> int:
        """Since the world began."""
        return self.monotonic_ms() - self._began_ms


class Play:
    """A seed while it is played.

    Args:
        seed: of everything.
        folder: for the store's files; should be memory.
        tell: is given the story as it happens.
    """

    def __init__(self, seed: int, folder: Path, trace: Callable[[str], None] | None = None) -> None:
        self.figures: Counter[str] = Counter()
        self._trace = trace
        self._folder, self._path = folder, folder / f"{seed}.db"
        dice = self.dice = random.Random(seed)
        self.world = make_world(dice)
        self.loop = Loop(dice, shuffled=dice.random() < 0.8)
        self.clock = Clock(self.loop)
        self.faults = Faults(dice, self.figures)
        self.happens, self.delay_s, self.fault = (
            self.faults.happens,
            self.faults.delay_s,
            self.faults.fault,
        )
        self._options = IngestOptions(
            self.world.channels,
            start=self.world.start,
            max_events=dice.choice((1, 2, 5, 500)),
            window=dice.choice((3, 1_000)),
            strict=dice.random() < 0.8,
        )
        self.sink = Sink(seed, [])
        self.witness = Witness(
            Model(self.world), self.sink, self._options, self.clock.monotonic_ms, self.clock.wall_ms
        )
        self.arrivals, self.leaves = self.witness.arrivals, self.witness.leaves
        self.bus = Bus(self.world, dice, self.clock.since_ms, self, backlog=dice.random() < 0.3)
        self.fleet = Fleet(self.loop, dice, self._open_store, self._service, self.trace)
        self.outside = Outside(self._path, wall_ms=self.clock.wall_ms)
        self.kinds = tuple(kind for kind in KINDS if dice.random() < 0.6) or KINDS[:1]
        self._max_blocked_runs = dice.choice((0, 1, 1_000, 1_000))
        self._kill_at = self.faults.steps_to_a_kill()

    # ------------------------------------------------------------ what a process is made of

    def _open_store(self, process: Process) -> SimulatedStore:
        return SimulatedStore(self._path, process, self, self.clock.wall_ms)

    def _service(self, process: Process, store: SimulatedStore) -> Service:
        rest = Rest(self.bus)
        return Service(
            store,
            Source(self.bus, process.name, self.clock.monotonic_ms),
            lambda: THE_ORG,
            rest,
            rest,
            [make(kind, self.sink, self.dice) for kind in self.kinds],
            ServiceOptions(
                process.name, LEASE_MS, RENEW_MS, GRACE_MS, self._options, handler_names=self.kinds
            ),
            self.clock,
            random.Random(self.dice.random()),
            observer=Ignore(),
            ingest_observer=Ignore(),
            session_observer=Ignore(),
            delivery_observer=Observer(self.sink),
        )

    def executed(self, process: Process, deed: Deed, result: Any, connection: Any) -> None:
        """The store has done what a process asked."""
        self.trace(process.name, lambda: f"{_shown(deed)}: {_came_to(result)}")
        self.witness.executed(process, deed, result, connection)
        if self.happens(KILLED_BEFORE_THE_ANSWER):
            self.figures["killed before the store's answer"] += 1
            self.fleet.kill(process)

    def trace(self, who: str, what: Callable[[], str]) -> None:
        """For the story."""
        if self._trace is not None:
            self._trace(f"{self.clock.since_ms():>7} {who}: {what()}")

    def _note(self, what: str) -> None:
        self.trace("world", lambda: what)

    # ------------------------------------------------------------ what happens

    def _happen(self) -> None:
        if self.faults.calm:
            return
        what = self.faults.one_of(HAPPENINGS)
        running, holder = self.fleet.running, self.witness.holder
        process = self.dice.choice(running) if running else None
        if holder in running and self.dice.random() < 0.6:
            process = holder
        self.figures[what] += 1
        match what:
            case "kill" if process is not None:
                self.fleet.kill(process)
            case "freeze" if process is not None:
                self.fleet.freeze(process)
            case "stop" if process is not None:
                self.fleet.stop(process)
            case "cut":
                self._cut("every session is cut")
            case "steal":
                self._note("the lease is taken away")
                self.loop.run(self.outside.move({}))
                self.witness.moved()
            case "jump":
                self.clock.skew_ms = self.dice.choice(SKEWS_MS)
                self._note(f"the wall clock jumps, {self.clock.skew_ms} ms off")
            case "retry letters":
                self._redrive()
            case "move" if not self.bus.moved:
                self._move()
        self.loop.call_later(self.faults.pause_s(), self._happen)

    def _cut(self, why: str) -> None:
        self._note(why)
        self.bus.cut(why)

    def _move(self) -> None:
        """That an org has moved can only be noticed where a number of before and the name of before are known."""
        if self.witness.model.knows_numbers and self.witness.model.knows_name:
            self._note("the org moves")
            self.bus.move()

    def _redrive(self) -> int:
        dead_letters = self.loop.run(self.outside.handler_dead_letters(None, 1_000))
        for dead_letter in dead_letters:
            self.loop.run(self.outside.redrive_dead_letters(dead_letter.handler, [dead_letter.event_id]))
        self.figures["letters tried again"] += len(dead_letters)
        return len(dead_letters)

    # ------------------------------------------------------------ the story

    def run(self) -> Counter[str]:
        """Play it; how often what happened.

        Raises:
            Violation: a guarantee does not hold.
        """
        blocked_runs, look = cursor.MAX_BLOCKED_RUNS, journal_signal._POLL_MS
        cursor.MAX_BLOCKED_RUNS = self._max_blocked_runs
        journal_signal._POLL_MS = LOOK_FOR_OTHERS_MS  # type: ignore[misc]
        try:
            with self.loop:
                self.loop.run(self.outside.open())
                self._play()
        finally:
            cursor.MAX_BLOCKED_RUNS, journal_signal._POLL_MS = blocked_runs, look  # type: ignore[misc]
            self.fleet.close()
            self.outside.close_files()
            for path in self._folder.glob(f"{self._path.stem}.*"):
                path.unlink()
        return self.figures

    def _play(self) -> None:
        for channel, bus in self.world.bus.items():
            self._note(f"{channel} {self.world.shown(bus)}")
        for name in "abc"[: self.dice.choice((1, 2, 2, 2, 3))]:
            self.fleet.later(name, self.dice.choice((0, 0, 500)))
        self.loop.call_later(self.faults.pause_s(), self._happen)
        self._until(max(self.bus.last_ms, 0) + self.dice.choice((1_000, 3_000, 9_000)))
        self._note("it is calm")
        self.faults.calm = self.sink.healed = True
        self.fleet.thaw_all()
        self._cut("every session is cut, for the last time but one")
        self._come_to_the_end()
        self._judge()

    def _come_to_the_end(self) -> None:
        began_ms, flown = self.clock.since_ms(), False
        while True:
            self._until(self.clock.since_ms() + 500)
            if not self.bus.moved:
                self._move()
            left = self._unfinished()
            if not left:
                return
            calm_ms = self.clock.since_ms() - began_ms
            if calm_ms > CALM_MS:
                raise Violation(f"stuck after {CALM_MS} ms without trouble: {left}")
            if not flown and calm_ms > FLY_AFTER_MS and self._is_all_born():
                flown = True
                self.bus.ahead_ms += FLOWN_MS
                self._cut("Salesforce's time flies")

    def _is_all_born(self) -> bool:
        """Whether every channel has a birth: what is committed long before that is not this service's."""
        return self.witness.model.born >= set(self.world.channels)

    def _unfinished(self) -> list[str]:
        left = self.witness.unfinished(self.kinds)
        if self._redrive():
            left.append("there are dead letters")
        if self.loop.run(self.outside.timers(FAR_MS, 1)):
            left.append("there are timers")
        return left

    def _until(self, ms: int) -> None:
        """Let everything go on until then.

        Raises:
            Violation: a guarantee does not hold.
        """
        reached: list[bool] = []
        loop, sink, fleet = self.loop, self.sink, self.fleet
        loop.call_later(max(ms - self.clock.since_ms(), 0) / 1_000, reached.append, True)
        while not reached:
            loop.step()
            if sink.violation is not None:
                raise Violation(sink.violation)
            if fleet.crash is not None:
                raise Violation(f"a service ended by {fleet.crash!r}") from fleet.crash
            if loop.steps >= self._kill_at and not self.faults.calm:
                self._kill_at = loop.steps + self.faults.steps_to_a_kill()
                if running := fleet.running:
                    self.figures["killed between two steps"] += 1
                    fleet.kill(self.dice.choice(running))
            if loop.steps > MOST_STEPS:
                raise Violation(f"busy for ever: {loop.steps} steps in {self.clock.since_ms()} ms")

    # ------------------------------------------------------------ the verdict

    def _judge(self) -> None:
        sink = self.sink
        self.figures += self.witness.figures + sink.figures
        self.figures += self.loop.run(judge(self.outside, self.world, self.witness.model))
        stored = self.loop.run(self.outside.read(0, 100_000))
        if [entry.id for entry in stored] != [record.id for record in sink.journal]:
            raise Violation("the journal is not what the commits appended, in their order")
        for kind in self.kinds:
            missing = [
                entry.id for entry in stored if wants(kind, entry.type) and entry.id not in sink.done[kind]
            ]
            if missing:
                raise Violation(f"guarantee 2: handler {kind} never did {missing}")
        self.figures["steps"] += self.loop.steps
        self.figures["virtual ms"] += self.clock.since_ms()
        self._note(f"{self.loop.steps} steps")


def _came_to(result: Any) -> str:
    return type(result).__name__ if isinstance(result, Exception) else str(result)


def _shown(deed: Deed) -> str:
    match deed.name:
        case "commit":
            commit = deed.facts[0]
            return f"commit {commit.number} of {len(commit.journal)} events, {sorted(one.position or '-' for one in commit.channels.values())}"
        case "save_place":
            _, handler, place_, _, blocked_runs = deed.facts
            rows = [
                f"{run}: {row and (row.first, row.attempts, row.done)}" for run, row in blocked_runs.items()
            ]
            return f"place of {handler} {place_.data.decode()}, blocked {sorted(rows)}"
        case "settle_dead_letters":
            return f"letters of {deed.facts[0]}: {len(deed.facts[1])} gone, {len(deed.facts[2])} back"
    return deed.name


def play(seed: int, folder: Path, trace: Callable[[str], None] | None = None) -> Counter[str]:
    """Play a seed; how often what happened.

    Raises:
        AssertionError: a guarantee does not hold.
    """
    return Play(seed, folder, trace).run()


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """Where files cost nothing."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
