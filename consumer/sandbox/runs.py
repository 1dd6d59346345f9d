"""Runs and their steps: a target's way into, through and out of a cadence.

The mechanics beneath `Engagement`: the current step tracker, the fields of a new one, the fields written when it
closes, the transition from one cadence to the next. Where Salesforce's documentation is silent, the behaviour is the
plausible one, and an option of `EngagementOptions`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from consumer.sandbox.cadences import DAY, HOUR, Cadence, Catalogue, Step
from consumer.sandbox.errors import IllegalTransition
from consumer.sandbox.org import Org, OrgTransaction
from consumer.sandbox.schema import STEP_TRACKER, TRACKER, USER

# Salesforce chains at most ten cadences.
LONGEST_CHAIN: Final = 10

OPEN_RUN: Final = frozenset({"Running", "Paused", "Error"})
OPEN_STEP: Final = frozenset({"Active", "InProgress", "Scheduled", "Queued", "Paused", "Error"})
WORKABLE_STEP: Final = frozenset({"Active", "InProgress", "Scheduled", "Queued"})
AUTOMATIC_STEPS: Final = frozenset({"AutoSendAnEmail", "Wait", "Branch", "ListenerBranch", "DaisyChain"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngagementOptions:
    """Behaviour that the documentation leaves open.

    Attributes:
        initial_state: `Running`, or `Initializing` first and `Running` in a second transaction.
        processing_surfaces: whether pausing and resuming pass through `Processing` in a transaction of its own.
        ended_step_state: final state of the open step of a removed or converted run.
    """

    initial_state: Literal["Running", "Initializing"] = "Running"
    processing_surfaces: bool = False
    ended_step_state: Literal["Cancelled", "Completed"] = "Cancelled"


class Runs:
    """The runs of an org: trackers and step trackers, changed in transactions."""

    def __init__(
        self, org: Org, catalogue: Catalogue, options: EngagementOptions | None = None, *, seed: int = 1
    ) -> None:
        self.org = org
        self.catalogue = catalogue
        self.behaviour = options or EngagementOptions()
        self._random = random.Random(f"engagement-{seed}")
        self._starting: list[tuple[str, Step]] = []
        self._steps: dict[str, list[str]] = {}
        self.users = tuple(
            org.install(USER, {"Name": name, "Username": f"{name.lower()}@sandbox.example", "IsActive": True})
            for name in ("Ada", "Grace", "Edsger")
        )

    def _run_opened(self, run: str) -> None:
        """Observe a run that opens, or opens again; for subclasses."""

    def _run_closed(self, run: str) -> None:
        """Observe a run that ends; for subclasses."""

    def _whole_second_after(self, delay_ms: int) -> int:
        return self.org.now_second() + delay_ms

    def _cadence(self, name_or_id: str | None) -> Cadence:
        if name_or_id is None:
            return self._random.choice(self.catalogue.cadences)
        return self.catalogue.cadence(name_or_id)

    def _exit_rule(self) -> str:
        return self.org.ids.next("ActionCadenceRule")

    @contextmanager
    def _transaction_by(self, by: str | None = None) -> Iterator[OrgTransaction]:
        """Open a transaction by a user; the next one starts the runs that it initializes."""
        try:
            with self.org.transaction(user=by) as transaction:
                yield transaction
        except BaseException:
            self._starting.clear()
            raise
        starting, self._starting = self._starting, []
        for run, step in starting:
            with self.org.transaction() as transaction:
                first = self._enter(transaction, run, step)
                transaction.update(TRACKER, run, State="Running", CurrentStepId=first)

    def _run(self, run: str, action: str, states: frozenset[str] | set[str]) -> dict[str, Any]:
        record = self.org.get(TRACKER, run)
        if record["State"] not in states:
            raise IllegalTransition(action=action, record_id=run, state=record["State"], allowed=states)
        return record

    def _current(
        self, run: str, action: str, states: set[str], step_states: frozenset[str] | set[str]
    ) -> dict[str, Any]:
        """Return a run's current step tracker, if the states of both allow `action`."""
        step = self.org.get(STEP_TRACKER, self._run(run, action, states)["CurrentStepId"])
        if step["State"] not in step_states:
            raise IllegalTransition(
                action=action, record_id=step["Id"], state=step["State"], allowed=step_states
            )
        return step

    def _steps_of(self, run: str, *, deleted: bool) -> list[str]:
        records = self.org.records[STEP_TRACKER]
        return [step for step in self._steps[run] if records[step]["IsDeleted"] == deleted]

    def _change_step(self, run: str, action: str, states: frozenset[str] | set[str], **values: Any) -> str:
        step = self._current(run, action, {"Running"}, states)
        with self._transaction_by() as transaction:
            transaction.update(STEP_TRACKER, step["Id"], **values)
        return str(step["Id"])

    def _surface_processing(self, runs: tuple[str, ...]) -> None:
        if self.behaviour.processing_surfaces:
            with self._transaction_by() as transaction:
                for run in runs:
                    transaction.update(TRACKER, run, State="Processing")

    def _start(
        self,
        transaction: OrgTransaction,
        cadence: Cadence,
        target: str | None,
        owner: str | None,
        *,
        iteration: int = 1,
        related_to: str | None = None,
        first: Step | None = None,
    ) -> str:
        initializing = self.behaviour.initial_state == "Initializing"
        first = first or cadence.steps[0]
        values = {
            "OwnerId": owner or self._random.choice(self.users),
            "ActionCadenceId": cadence.id,
            "TargetId": target or self.org.ids.next(self._random.choice(("Lead", "Contact"))),
            "State": self.behaviour.initial_state,
            "IsTrackerActive": True,
            "DaisyChainIteration": iteration,
            "RelatedToId": related_to,
        }
        run = transaction.create(TRACKER, values)
        self._steps[run] = []
        if initializing:
            self._starting.append((run, first))
        else:
            step = self._enter(transaction, run, first)
            transaction.update(TRACKER, run, CurrentStepId=step)
        self._run_opened(run)
        return run

    def _enter(
        self, transaction: OrgTransaction, run: str, step: Step, *, repetition: int | None = None
    ) -> str:
        """Create the step tracker of a step that a run reaches.

        A Wait step also sets the run's `ScheduledResumeDateTime`.
        """
        tracker = self.org.get(TRACKER, run)
        automatic = step.plan.type in AUTOMATIC_STEPS
        until = self._wait_end(step)
        if tracker.get("ScheduledResumeDateTime") != until:
            transaction.update(TRACKER, run, ScheduledResumeDateTime=until)
        entered = transaction.create(
            STEP_TRACKER,
            {
                "ActionCadenceId": step.cadence_id,
                "ActionCadenceName": self.catalogue.cadence(step.cadence_id).name,
                "ActionCadenceTrackerId": run,
                "ActionCadenceStepId": step.id,
                "TargetId": tracker["TargetId"],
                "State": initial_step_state(step.plan.type),
                "StepType": step.plan.type,
                "StepTitle": step.plan.title,
                "WasEverPaused": False,
                "DueDateTime": None if automatic else self._whole_second_after(DAY),
                "ScheduledStartDateTime": self._whole_second_after(HOUR)
                if step.plan.type == "AutoSendAnEmail"
                else None,
                "GoToStepIterationCount": repetition,
            },
        )
        self._steps[run].append(entered)
        return entered

    def _wait_end(self, step: Step) -> int | None:
        return self._whole_second_after(step.plan.wait_ms) if step.plan.type == "Wait" else None

    def _close_step(
        self,
        transaction: OrgTransaction,
        step: dict[str, Any],
        state: str,
        reason: str | None,
        by: str | None = None,
    ) -> None:
        values: dict[str, Any] = {"State": state}
        if state == "Completed":
            now = self.org.now_second()
            values |= {"CompletionReason": reason, "CompletionDate": now}
            if reason in {"ManuallyCompleted", "ManuallySkipped", "AutomaticallyCompleted"}:
                values |= {
                    "CompletedById": by or self.org.integration_user_id,
                    "ActionTakenDateTime": now,
                }
        transaction.update(STEP_TRACKER, step["Id"], **values)

    def _advance_past(self, run: str, step: dict[str, Any], reason: str, by: str | None) -> str | None:
        following = self.catalogue.after(self.catalogue.step(step["ActionCadenceStepId"]))
        with self._transaction_by(by) as transaction:
            self._close_step(transaction, step, "Completed", reason, by)
            chain_exhausted = self.org.get(TRACKER, run)["DaisyChainIteration"] >= LONGEST_CHAIN
            if following is None or (following.plan.type == "DaisyChain" and chain_exhausted):
                self._complete(transaction, run, "NoMoreSteps", LastCompletedStepId=step["Id"])
                return None
            if following.plan.type == "DaisyChain":
                self._chain(transaction, run, step["Id"], None, through=following)
                return None
            entered = self._enter(transaction, run, following)
            transaction.update(TRACKER, run, CurrentStepId=entered, LastCompletedStepId=step["Id"])
            return entered

    def _chain(
        self,
        transaction: OrgTransaction,
        run: str,
        last_step: str,
        cadence: str | None,
        *,
        through: Step | None = None,
    ) -> str:
        tracker = self.org.get(TRACKER, run)
        target, owner = tracker["TargetId"], tracker["OwnerId"]
        iteration = tracker["DaisyChainIteration"] + 1
        if through is not None:
            last_step = self._enter(transaction, run, through)
            self._close_step(
                transaction, self.org.get(STEP_TRACKER, last_step), "Completed", "AutomaticallyCompleted"
            )
        leads_to = cadence or self.catalogue.cadence(tracker["ActionCadenceId"]).leads_to
        self._complete(transaction, run, "DaisyChained", LastCompletedStepId=last_step)
        return self._start(transaction, self._cadence(leads_to), target, owner, iteration=iteration)

    def _complete(self, transaction: OrgTransaction, run: str, reason: str, **values: Any) -> None:
        transaction.update(
            TRACKER,
            run,
            State="Complete",
            CompletionReason=reason,
            IsTrackerActive=False,
            CurrentStepId=None,
            ScheduledResumeDateTime=None,
            **values,
        )
        self._run_closed(run)

    def _end(self, run: str, action: str, reason: str, *, by: str | None = None, **values: Any) -> str:
        tracker = self._run(run, action, OPEN_RUN)
        step = self.org.get(STEP_TRACKER, tracker["CurrentStepId"])
        with self._transaction_by(by) as transaction:
            if step["State"] in OPEN_STEP:
                exited = reason == "AutomaticallyExited" or self.behaviour.ended_step_state == "Completed"
                state, step_reason = ("Completed", "AutomaticallyExited") if exited else ("Cancelled", None)
                self._close_step(transaction, step, state, step_reason)
            self._complete(transaction, run, reason, **values)
        return run


def initial_step_state(step_type: str) -> str:
    """Return the state of a new step tracker, and of one that is resumed or retried."""
    return "Scheduled" if step_type == "AutoSendAnEmail" else "Active"
