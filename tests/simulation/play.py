"""A seed is a world, the processes in it, everything that happens to them, and a verdict.

Two or three replicas of the whole service share one store and one org. While the weather is bad, processes are killed between any two steps,
killed in the moment in which the store has done what they asked, frozen and thawed, stopped in order; leases are stolen, clocks jump, disks
fail, sessions break. Then it is calm: everything that stood still goes on, handlers take what they refused, dead letters are tried again.
Whatever was unfinished must come to its end within so many seconds, and what the store, the handlers and the bus then hold must agree.
"""

import contextvars
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consumer.delivery import place
from consumer.errors import StoreUnavailable
from consumer.ingest.options import IngestOptions
from consumer.service import Service, ServiceOptions
from consumer.stores import appended
from tests.changes import COMMIT_MS
from tests.model.model import Model
from tests.model.rig import THE_ORG, Quiet
from tests.model.verdict import FAR_MS, judge
from tests.model.world import make_world
from tests.simulation.bus import Bus, Rest, Source
from tests.simulation.handlers import KINDS, Observer, Sink, make
from tests.simulation.loop import Loop, Process
from tests.simulation.store import Deed, Outside, SimulatedStore
from tests.simulation.witness import Witness

LEASE_MS, RENEW_MS, GRACE_MS = 4_000, 1_500, 3_000
CALM_MS = 240_000
"""Within so much time without trouble everything has come to its end."""
MOST_STEPS = 400_000

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


class Violation(AssertionError):
    """A guarantee does not hold."""


class Clock:
    """The machine's clocks: the loop's time, and a wall that jumps."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.skew_ms = 0

    def monotonic_ms(self) -> int:
        return round(self._loop.time() * 1_000)

    def wall_ms(self) -> int:
        return COMMIT_MS + round(self._loop.time() * 1_000) + self.skew_ms


class Play:
    """A seed while it is played.

    Args:
        seed: of everything.
        folder: for the store's files; should be memory.
        tell: is given the story as it happens.
    """

    def __init__(self, seed: int, folder: Path, tell: Callable[[str], None] | None = None) -> None:
        self.dice = random.Random(seed)
        self.figures: Counter[str] = Counter()
        self._tell = tell
        self._path = folder / f"{seed}.db"
        self._folder = folder
        dice = self.dice
        self.world = make_world(dice)
        self.loop = Loop(dice, shuffled=dice.random() < 0.8)
        self.clock = Clock(self.loop)
        self.calm = False
        self._mood = dice.choice((0.2, 1, 1, 2))
        self.bus = Bus(self.world, dice, self._now_ms, self, backlog=dice.random() < 0.3)
        self.sink = Sink(seed, [])
        self.kinds = tuple(kind for kind in KINDS if dice.random() < 0.6) or KINDS[:1]
        self._options = IngestOptions(
            self.world.channels,
            start=self.world.start,
            max_events=dice.choice((1, 2, 5, 500)),
            window=dice.choice((3, 1_000)),
            strict=dice.random() < 0.8,
        )
        self.witness = Witness(
            Model(self.world), self.sink, self._options, self.clock.monotonic_ms, self.clock.wall_ms
        )
        self.arrivals, self.leaves = self.witness.arrivals, self.witness.leaves
        self._most_parked = dice.choice((0, 1, 1_000, 1_000))
        self._processes: dict[str, Process] = {}
        self._services: dict[str, Service] = {}
        self._stores: list[SimulatedStore] = []
        self._open: dict[Process, SimulatedStore] = {}
        self._started = 0
        self._kill_at = self._next_kill()
        self._crash: BaseException | None = None
        self._outside = contextvars.Context()

    # ------------------------------------------------------------ the weather

    def happens(self, chance: float) -> bool:
        """Whether something goes wrong."""
        return not self.calm and self.dice.random() < chance * self._mood

    def tell(self, who: str, what: Callable[[], str]) -> None:
        """For the story."""
        if self._tell is not None:
            self._tell(f"{self._now_ms():>7} {who}: {what()}")

    def _note(self, who: str, what: str) -> None:
        self.tell(who, lambda: what)

    def _now_ms(self) -> int:
        return self.clock.monotonic_ms() - 1_000_000

    def delay_s(self) -> float:
        """How long a thread of a store takes."""
        return 0 if self.calm else self.dice.choice((0, 0, 0, 0.001, 0.01))

    def trouble(self, deed: Deed) -> str | None:
        """What goes wrong with it."""
        if self.calm or self.dice.random() >= 0.03 * self._mood:
            return None
        what = self.dice.choice(("fails", "fails", "stands still", "applied, and said to have failed"))
        if deed.name == "acquire" and what.startswith("applied"):
            return "fails"
        self.figures[f"store {what}"] += 1
        return what

    def executed(self, process: Process, deed: Deed, result: Any, connection: Any) -> None:
        """The store has done what a process asked."""
        self.tell(
            process.name,
            lambda: f"{_shown(deed)}: {type(result).__name__ if isinstance(result, Exception) else result}",
        )
        self.witness.executed(process, deed, result, connection)
        if self.happens(0.01):
            self.figures["killed before the store's answer"] += 1
            self._kill(process)

    def _next_kill(self) -> int:
        return int(self.loop.steps + self.dice.expovariate(1 / 2_500) / self._mood) + 1

    # ------------------------------------------------------------ processes

    def _start(self, name: str) -> None:
        self._started += 1
        process = self._processes[name] = Process(f"{name}.{self._started}")
        store = SimulatedStore(self._path, process, self, self.clock.wall_ms)
        self._stores.append(store)
        self._open[process] = store
        main = self.loop.start(process, self._main(name, process, store))
        main.add_done_callback(lambda task: self._ended(name, process, task))

    async def _main(self, name: str, process: Process, store: SimulatedStore) -> bool:
        """A process, from its first to its last line."""
        await store.open()
        rest = Rest(self.bus)
        sink = self.sink
        service = self._services[name] = Service(
            store,
            Source(self.bus, process.name, self.clock.monotonic_ms),
            lambda: THE_ORG,
            rest,
            rest,
            [make(kind, sink, self.dice) for kind in self.kinds],
            ServiceOptions(
                process.name, LEASE_MS, RENEW_MS, GRACE_MS, self._options, handler_names=self.kinds
            ),
            self.clock,
            random.Random(self.dice.random()),
            events=Quiet(),
            ingest_events=Quiet(),
            session_events=Quiet(),
            delivery_events=Observer(sink),
        )
        clean = await service.run()
        await store.aclose()
        return clean

    def _ended(self, name: str, process: Process, task: Any) -> None:
        self._note(process.name, "ends")
        process.alive = False
        self._open.pop(process).left_behind()
        error = task.exception()
        if error is not None and not isinstance(error, StoreUnavailable):
            self._crash = error
        self._later(name, self.dice.choice((100, 1_000)))

    def _kill(self, process: Process) -> None:
        if not process.alive or process not in self._open:
            return
        self._note(process.name, "is killed")
        process.alive = False
        self._open.pop(process).left_behind()
        self._later(process.name.partition(".")[0], self.dice.choice((0, 300, 3_000, 10_000)))

    def _later(self, name: str, ms: int) -> None:
        # Not of the process in whose name this may be said, which may be dead.
        self.loop.call_later(ms / 1_000, self._start, name, context=self._outside)

    def _thaw(self, process: Process) -> None:
        if process.frozen:
            self._note(process.name, "goes on")
            self.loop.thaw(process)

    # ------------------------------------------------------------ what happens

    def _happen(self) -> None:
        if self.calm:
            return
        (what,) = self.dice.choices(list(HAPPENINGS), list(HAPPENINGS.values()))
        living = [one for one in self._processes.values() if one in self._open]
        process = self.dice.choice(living) if living else None
        holder = self.witness.holder
        if holder in self._open and self.dice.random() < 0.6:
            process = holder
        self.figures[what] += 1
        match what:
            case "kill" if process is not None:
                self._kill(process)
            case "freeze" if process is not None and not process.frozen:
                self._note(process.name, "stands still")
                process.frozen = True
                self.loop.call_later(self.dice.choice((0.5, 3, 5, 9)), self._thaw, process)
            case "stop" if (
                process is not None and (service := self._services.get(process.name[0])) is not None
            ):
                self._note(process.name, "is told to stop")
                service.stop()
            case "cut":
                self._note("world", "every session is cut")
                self.bus.cut("cut")
            case "steal":
                self._note("world", "the lease is taken away")
                self.loop.run(self.admin.move({}))
                self.witness.moved()
            case "jump":
                self.clock.skew_ms = self.dice.choice((-30_000, -3_000, 0, 3_000, 10_000, 60_000))
                self._note("world", f"the wall clock jumps, {self.clock.skew_ms} ms off")
            case "retry letters":
                self._retry_letters()
            case "move" if not self.bus.moved:
                self._move()
        self.loop.call_later(self.dice.expovariate(self._mood / 1.5), self._happen)

    def _move(self) -> None:
        """That an org has moved can only be noticed where a number of before and the name of before are known."""
        if self.witness.model.knows_numbers and self.witness.model.knows_name:
            self._note("world", "the org moves")
            self.bus.move()

    def _retry_letters(self) -> int:
        letters = self.loop.run(self.admin.handler_dead_letters(None, 1_000))
        for letter in letters:
            self.loop.run(self.admin.retry_dead_letters(letter.handler, [letter.event_id]))
        self.figures["letters tried again"] += len(letters)
        return len(letters)

    # ------------------------------------------------------------ the story

    def run(self) -> Counter[str]:
        """Play it; how often what happened.

        Raises:
            Violation: a guarantee does not hold.
        """
        parked, look = place.MOST_PARKED, appended._LOOK_EVERY_MS
        place.MOST_PARKED = self._most_parked
        appended._LOOK_EVERY_MS = 2_000  # type: ignore[misc]
        try:
            with self.loop:
                self.admin = Outside(self._path, wall_ms=self.clock.wall_ms)
                self.loop.run(self.admin.open())
                self._play()
        finally:
            place.MOST_PARKED, appended._LOOK_EVERY_MS = parked, look  # type: ignore[misc]
            self._clear()
        return self.figures

    def _play(self) -> None:
        for channel, bus in self.world.bus.items():
            self._note(channel, self.world.shown(bus))
        for name in "abc"[: self.dice.choice((1, 2, 2, 2, 3))]:
            self._later(name, self.dice.choice((0, 0, 500)))
        self.loop.call_later(self.dice.expovariate(1), self._happen)
        self._until(max(self.bus.last_ms, 0) + self.dice.choice((1_000, 3_000, 9_000)))
        self._be_calm()
        ends_ms = self._now_ms() + CALM_MS
        left: list[str] = ["nothing was looked at"]
        model, flown = self.witness.model, False
        while left:
            self._until(self._now_ms() + 500)
            if not self.bus.moved:
                self._move()
            left = self.witness.unfinished(self.kinds)
            if self._retry_letters():
                left.append("there are dead letters")
            if self.loop.run(self.admin.timers(FAR_MS, 1)):
                left.append("there are timers")
            born = model.born >= set(self.world.channels)
            if left and born and not flown and self._now_ms() > ends_ms - CALM_MS + 3_000:
                # Past whatever is due, and past the ten minutes after which a quiet channel's last position is written.
                flown = True
                self.bus.ahead_ms += 700_000
                self.bus.cut("Salesforce's time flies")
            if left and self._now_ms() > ends_ms:
                raise Violation(f"stuck after {CALM_MS} ms without trouble: {left}")
        self._judge()

    def _until(self, ms: int) -> None:
        reached: list[bool] = []
        self.loop.call_later(max(ms - self._now_ms(), 0) / 1_000, reached.append, True)
        loop, sink = self.loop, self.sink
        while not reached:
            loop.step()
            if sink.violation is not None:
                raise Violation(sink.violation)
            if self._crash is not None:
                raise Violation(f"a service ended by {self._crash!r}") from self._crash
            if loop.steps >= self._kill_at and not self.calm:
                self._kill_at = self._next_kill()
                living = [one for one in self._processes.values() if one in self._open]
                if living:
                    self.figures["killed between two steps"] += 1
                    self._kill(self.dice.choice(living))
            if loop.steps > MOST_STEPS:
                raise Violation(f"busy for ever: {loop.steps} steps in {self._now_ms()} ms")

    def _be_calm(self) -> None:
        self._note("world", "it is calm")
        self.calm = self.sink.healed = True
        self.bus.cut("the last one")
        for process in list(self._processes.values()):
            self._thaw(process)

    def _judge(self) -> None:
        sink = self.sink
        self.figures += self.witness.figures + sink.figures
        self.figures += self.loop.run(judge(self.admin, self.world, self.witness.model))
        stored = self.loop.run(self.admin.read(0, 100_000))
        if [entry.id for entry in stored] != [record.id for record in sink.journal]:
            raise Violation("the journal is not what the commits appended, in their order")
        for kind in self.kinds:
            missing = [
                entry.id
                for entry in stored
                if entry.id not in sink.done[kind] and (kind != "runs" or entry.type.startswith("run."))
            ]
            if missing:
                raise Violation(f"guarantee 2: handler {kind} never did {missing}")
        self.figures["steps"] += self.loop.steps
        self.figures["virtual ms"] += self._now_ms()
        self._note("world", f"{self.loop.steps} steps")

    def _clear(self) -> None:
        for store in self._stores:
            store.close_files()
        self.admin.close_files()
        for path in self._folder.glob(f"{self._path.stem}.*"):
            path.unlink()


def _shown(deed: Deed) -> str:
    match deed.name:
        case "commit":
            commit = deed.facts[0]
            return f"commit {commit.number} of {len(commit.journal)} events, {sorted(one.position or '-' for one in commit.channels.values())}"
        case "save_place":
            return f"place of {deed.facts[1]} {deed.facts[2].data.decode()}, parked {list(deed.facts[4].values())}"
        case "settle_dead_letters":
            return f"letters of {deed.facts[0]}: {len(deed.facts[1])} gone, {len(deed.facts[2])} back"
    return deed.name


def play(seed: int, folder: Path, tell: Callable[[str], None] | None = None) -> Counter[str]:
    """Play a seed; how often what happened.

    Raises:
        AssertionError: a guarantee does not hold.
    """
    return Play(seed, folder, tell).run()


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """Where files cost nothing."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
