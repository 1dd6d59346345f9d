"""A world of cadences that lives by itself, or tells the story it is told.

Left alone, a world enrols targets and lets chance, weighted by what is likely, move each run on: steps are
opened, done, skipped, mailed; runs are paused together, resumed, fail, recover, change hands, end in every
documented way, and are now and then deleted and restored. Every choice comes from one seeded generator, so
the same seed and the same calls give the same ledger as long as the org's clock does. Told what to do, it
is an `Engagement`: tests write exact stories with its methods.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from consumer.sandbox.cadences import DAY, Catalogue
from consumer.sandbox.engagement import Engagement
from consumer.sandbox.errors import SandboxError
from consumer.sandbox.org import Org
from consumer.sandbox.runs import LONGEST_CHAIN, EngagementOptions
from consumer.sandbox.schema import STEP_TRACKER, TRACKER

# Error codes that the world uses, one of each cause that the documentation's code list suggests.
_ERROR_CODES: Final = (
    "RETRY_LATER",
    "MAIL_PROVIDER_RATE_LIMIT_REACHED",
    "TARGET_EMAIL_BOUNCED",
    "TEMPLATE_DELETED",
    "USER_IS_INACTIVE",
)
_DISPOSITIONS: Final = ("Success", "No Response", "Not Interested", "Customer Engaged", None)

# What may happen to a run, by the state of the run and of its step: action and weight.
_TRANSITION_WEIGHTS: Final[dict[tuple[str, str], dict[str, float]]] = {
    ("Running", "Active"): {
        "open_step": 3,
        "complete": 5,
        "skip_step": 1,
        "pause": 0.8,
        "remove": 0.4,
        "exit": 0.4,
        "convert": 0.2,
        "fail": 0.2,
        "reassign": 0.4,
        "attribute": 0.2,
        "change_due": 0.4,
        "chain": 0.1,
        "repeat_step": 0.1,
        "schedule_email": 0.6,
    },
    ("Running", "InProgress"): {"complete": 6, "skip_step": 1, "exit": 0.2},
    ("Running", "Scheduled"): {"queue_email": 6, "fail": 0.4, "pause": 0.4, "change_start": 0.4, "exit": 0.2},
    ("Running", "Queued"): {"complete": 8, "fail": 0.6},
    ("Paused", "Paused"): {"resume": 6, "remove": 0.5, "exit": 0.3},
    ("Error", "Error"): {"retry": 6, "remove": 0.8},
}
_CUMULATIVE_WEIGHTS: Final = {
    states: (tuple(weights), tuple(accumulate(weights.values())))
    for states, weights in _TRANSITION_WEIGHTS.items()
}

WORLD_METHODS: Final = (
    "enrol",
    "enrol_many",
    "open_step",
    "schedule_email",
    "queue_email",
    "change_due",
    "change_start",
    "complete_step",
    "skip_step",
    "repeat_step",
    "pause",
    "resume",
    "fail",
    "retry",
    "reassign",
    "attribute",
    "set_disposition",
    "remove",
    "exit",
    "convert",
    "chain",
    "delete",
    "undelete",
    "finish",
    "finish_all",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldOptions:
    """How busy the world is.

    Attributes:
        events_per_second: how fast it drives itself; 0 leaves it to `advance` and the story methods.
        population: how many runs it keeps open.
        engagement: readings of what the documentation leaves open.
    """

    events_per_second: float = 0.0
    population: int = 100
    engagement: EngagementOptions = field(default_factory=EngagementOptions)


class UnknownCall(SandboxError):
    """A story asks for a method that the world does not have."""

    def __init__(self, *, call: str) -> None:
        super().__init__(f"the world has no {call!r}; use one of {', '.join(WORLD_METHODS)}")


class World(Engagement):
    """Sales Engagement with people in it."""

    def __init__(
        self, org: Org, catalogue: Catalogue, options: WorldOptions | None = None, *, seed: int = 1
    ) -> None:
        self.options = options or WorldOptions()
        super().__init__(org, catalogue, self.options.engagement, seed=seed)
        self._dice = random.Random(f"world-{seed}")
        self._open: list[str] = []
        self._open_index: dict[str, int] = {}
        self._ended: list[str] = []
        self._deleted: list[str] = []
        self.steps = 0
        self._actions: dict[str, Callable[[str], object]] = {
            "complete": self.complete_step,
            "pause": self._pause_some,
            "fail": lambda run: self.fail(run, self._dice.choice(_ERROR_CODES)),
            "remove": lambda run: self.remove(run, self._dice.choice(_DISPOSITIONS)),
        }

    @property
    def open_runs(self) -> tuple[str, ...]:
        """The runs that have not ended."""
        return tuple(self._open)

    def advance(self, steps: int = 1) -> None:
        """Let `steps` things happen."""
        for _ in range(steps):
            self._step()

    def advance_until(self, is_done: Callable[[], bool]) -> None:
        """Let things happen until `enough` says so."""
        while not is_done():
            self._step()

    def finish_all(self) -> list[str]:
        """Bring every open run to its natural end, those that follow in a chain too; returns the runs."""
        finished: list[str] = []
        while self._open:
            finished.append(self.finish(self._open[0]))
        return finished

    def invoke(self, call: str, *args: Any, **kwargs: Any) -> Any:
        """Call a story method by name, as the control API does; raises `UnknownCall`."""
        if call not in WORLD_METHODS:
            raise UnknownCall(call=call)
        return getattr(self, call)(*args, **kwargs)

    def _run_opened(self, run: str) -> None:
        if run not in self._open_index:
            self._open_index[run] = len(self._open)
            self._open.append(run)

    def _run_closed(self, run: str) -> None:
        index = self._open_index.pop(run, None)
        if index is None:
            return
        last = self._open.pop()
        if last != run:
            self._open[index] = last
            self._open_index[last] = index
        self._ended.append(run)
        if len(self._ended) > 500:
            del self._ended[:250]

    def _step(self) -> None:
        self.steps += 1
        chance = self._dice.random()
        if not self._open or (len(self._open) < self.options.population and chance < 0.4):
            self.enrol()
        elif chance > 0.995 and self._ended:
            self._delete_or_restore()
        else:
            self._move(self._dice.choice(self._open))

    def _move(self, run: str) -> None:
        """Let something likely happen to one run."""
        tracker = self.org.get(TRACKER, run)
        step = self.org.get(STEP_TRACKER, tracker["CurrentStepId"])
        names, weights = _CUMULATIVE_WEIGHTS[tracker["State"], step["State"]]
        name = self._dice.choices(names, cum_weights=weights)[0]
        if name == "schedule_email" and step["StepType"] != "SendAnEmail":
            name = "complete"
        if step["StepType"] == "Wait" and name in {"open_step", "skip_step", "change_due", "repeat_step"}:
            name = "complete"
        if name == "chain" and tracker["DaisyChainIteration"] >= LONGEST_CHAIN:
            name = "complete"
        action = self._actions.get(name)
        if action is not None:
            action(run)
        else:
            getattr(self, name)(run)

    def _pause_some(self, run: str) -> None:
        """Pause a run, sometimes with others, as reps do from a list view."""
        runs = [run]
        if self._dice.random() < 0.3:
            others = self._dice.sample(self._open, min(4, len(self._open)))
            runs += [each for each in others if each != run and self._is_pausable(each)]
        self.pause(*runs, resume_at=self._whole_second_after(self._dice.randrange(1, 14) * DAY))

    def _is_pausable(self, run: str) -> bool:
        tracker = self.org.get(TRACKER, run)
        return bool(tracker["State"] == "Running")

    def _delete_or_restore(self) -> None:
        if self._deleted and self._dice.random() < 0.5:
            run = self._deleted.pop()
            if run not in self.org.purged:
                self._ended.append(self.undelete(run))
            return
        run = self._ended.pop(self._dice.randrange(len(self._ended)))
        if not self.org.records[TRACKER][run]["IsDeleted"]:
            self._deleted.append(self.delete(run))
