"""A simulated sales team: weighted random activity, or a test's scenario.

By itself a world enrols targets and moves their runs on at random, with plausible weights: steps are opened,
completed, skipped, sent by e-mail; runs are paused together, resumed, fail, recover, are reassigned, end in every
documented way, and now and then are deleted and restored. Every choice comes from one seeded generator, so with the
same org clock the same seed and the same calls give the same ledger. A world is also an `Engagement`, whose methods
let tests write exact scenarios.
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

# One error code of each kind of cause in Salesforce's list of codes.
_ERROR_CODES: Final = (
    "RETRY_LATER",
    "MAIL_PROVIDER_RATE_LIMIT_REACHED",
    "TARGET_EMAIL_BOUNCED",
    "TEMPLATE_DELETED",
    "USER_IS_INACTIVE",
)
_DISPOSITIONS: Final = ("Success", "No Response", "Not Interested", "Customer Engaged", None)

# Actions and their weights, by the state of the run and of its current step.
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
    """Activity of the world.

    Attributes:
        events_per_second: rate of random activity; 0 for none beside `advance` and the methods of `Engagement`.
        population: number of runs kept open.
        engagement: behaviour that the documentation leaves open.
    """

    events_per_second: float = 0.0
    population: int = 100
    engagement: EngagementOptions = field(default_factory=EngagementOptions)


class UnknownCall(SandboxError):
    """The world has no method of this name."""

    def __init__(self, *, call: str) -> None:
        super().__init__(f"the world has no {call!r}; use one of {', '.join(WORLD_METHODS)}")


class World(Engagement):
    """Sales Engagement with simulated users."""

    def __init__(
        self, org: Org, catalogue: Catalogue, options: WorldOptions | None = None, *, seed: int = 1
    ) -> None:
        self.options = options or WorldOptions()
        super().__init__(org, catalogue, self.options.engagement, seed=seed)
        self._activity_random = random.Random(f"world-{seed}")
        self._open: list[str] = []
        self._open_index: dict[str, int] = {}
        self._ended: list[str] = []
        self._deleted: list[str] = []
        self.steps = 0
        self._actions: dict[str, Callable[[str], object]] = {
            "complete": self.complete_step,
            "pause": self._pause_some,
            "fail": lambda run: self.fail(run, self._activity_random.choice(_ERROR_CODES)),
            "remove": lambda run: self.remove(run, self._activity_random.choice(_DISPOSITIONS)),
        }

    @property
    def open_runs(self) -> tuple[str, ...]:
        """Runs that have not ended."""
        return tuple(self._open)

    def advance(self, steps: int = 1) -> None:
        """Perform `steps` random actions."""
        for _ in range(steps):
            self._step()

    def advance_until(self, is_done: Callable[[], bool]) -> None:
        """Perform random actions until `is_done` returns True."""
        while not is_done():
            self._step()

    def finish_all(self) -> list[str]:
        """Complete every open run, including those that a chain starts; returns the runs."""
        finished: list[str] = []
        while self._open:
            finished.append(self.finish(self._open[0]))
        return finished

    def invoke(self, call: str, *args: Any, **kwargs: Any) -> Any:
        """Call one of `WORLD_METHODS` by name, for the control API; raises `UnknownCall`."""
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
        chance = self._activity_random.random()
        if not self._open or (len(self._open) < self.options.population and chance < 0.4):
            self.enrol()
        elif chance > 0.995 and self._ended:
            self._delete_or_restore()
        else:
            self._move(self._activity_random.choice(self._open))

    def _move(self, run: str) -> None:
        """Perform a random action on a run, by the weights of its state."""
        tracker = self.org.get(TRACKER, run)
        step = self.org.get(STEP_TRACKER, tracker["CurrentStepId"])
        names, weights = _CUMULATIVE_WEIGHTS[tracker["State"], step["State"]]
        name = self._activity_random.choices(names, cum_weights=weights)[0]
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
        """Pause a run, sometimes with others, as sales reps do from a list view."""
        runs = [run]
        if self._activity_random.random() < 0.3:
            others = self._activity_random.sample(self._open, min(4, len(self._open)))
            runs += [other for other in others if other != run and self._is_pausable(other)]
        self.pause(*runs, resume_at=self._whole_second_after(self._activity_random.randrange(1, 14) * DAY))

    def _is_pausable(self, run: str) -> bool:
        tracker = self.org.get(TRACKER, run)
        return bool(tracker["State"] == "Running")

    def _delete_or_restore(self) -> None:
        if self._deleted and self._activity_random.random() < 0.5:
            run = self._deleted.pop()
            if run not in self.org.purged:
                self._ended.append(self.undelete(run))
            return
        run = self._ended.pop(self._activity_random.randrange(len(self._ended)))
        if not self.org.records[TRACKER][run]["IsDeleted"]:
            self._deleted.append(self.delete(run))
