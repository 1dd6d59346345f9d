"""What Sales Engagement does to its trackers: one method per thing that can happen to a run.

Each method is one transaction (two where an option says that a transitional state surfaces) that changes
the run's tracker and its open step tracker the way the documented state machines suggest. A method
refuses what the run's state does not allow with `IllegalTransition`, and returns the id that a story needs
next. All ids are eighteen characters, all times epoch milliseconds of org time.
"""

from __future__ import annotations

from consumer.sandbox.cadences import DAY, HOUR
from consumer.sandbox.runs import (
    AUTOMATIC_STEPS,
    OPEN_RUN,
    OPEN_STEP,
    WORKABLE_STEP,
    Runs,
    initial_step_state,
)
from consumer.sandbox.schema import STEP_TRACKER, TRACKER


class Engagement(Runs):
    """Moves targets through cadences."""

    # ------------------------------------------------------------ beginning

    def enrol(
        self,
        cadence: str | None = None,
        target: str | None = None,
        owner: str | None = None,
        *,
        related_to: str | None = None,
        start: str | None = None,
    ) -> str:
        """Add a target to a cadence (name or id), at the step `start` (id); returns the run: the id of its new tracker."""
        first = None if start is None else self.catalogue.step(start)
        with self._transaction_by() as transaction:
            return self._start(
                transaction, self._cadence(cadence), target, owner, related_to=related_to, first=first
            )

    def enrol_many(self, count: int, cadence: str | None = None, owner: str | None = None) -> list[str]:
        """Add `count` targets in one transaction, as a bulk assignment does; returns the runs."""
        chosen = self._cadence(cadence)
        with self._transaction_by() as transaction:
            return [self._start(transaction, chosen, None, owner) for _ in range(count)]

    # ------------------------------------------------------------ steps

    def open_step(self, run: str) -> str:
        """The rep opens the current step: `InProgress`; returns the step tracker."""
        return self._change_step(run, "open the step of", {"Active"}, State="InProgress")

    def schedule_email(self, run: str, at: int | None = None) -> str:
        """The e-mail of the current step is to go out `at` a time (default: in an hour); returns the step tracker."""
        start = self._whole_second_after(HOUR) if at is None else at
        states = {"Active", "InProgress"}
        return self._change_step(
            run, "schedule the e-mail of", states, State="Scheduled", ScheduledStartDateTime=start
        )

    def queue_email(self, run: str) -> str:
        """The scheduled e-mail is queued for sending; returns the step tracker."""
        return self._change_step(run, "queue the e-mail of", {"Scheduled"}, State="Queued")

    def change_due(self, run: str, due: int | None = None) -> str:
        """Move the due time of the current step (default: two days from now); returns the step tracker."""
        moved = self._whole_second_after(2 * DAY) if due is None else due
        return self._change_step(run, "move the due time of", OPEN_STEP, DueDateTime=moved)

    def change_start(self, run: str, at: int | None = None) -> str:
        """Move the scheduled start of the current step (default: in two hours); returns the step tracker."""
        moved = self._whole_second_after(2 * HOUR) if at is None else at
        return self._change_step(run, "move the start of", OPEN_STEP, ScheduledStartDateTime=moved)

    def complete_step(self, run: str, *, manual: bool | None = None, by: str | None = None) -> str | None:
        """Complete the current step and go on; returns the next step tracker, or None when the run ended with it.

        `manual` says how (default: by the step's type). A DaisyChain step that comes next ends this run and starts
        another, see `chain`.
        """
        step = self._current(run, "complete the step of", {"Running"}, WORKABLE_STEP)
        if manual is None:
            manual = step["StepType"] not in AUTOMATIC_STEPS
        return self._advance_past(run, step, "ManuallyCompleted" if manual else "AutomaticallyCompleted", by)

    def skip_step(self, run: str, *, by: str | None = None) -> str | None:
        """Skip the current step (`Completed` with reason `ManuallySkipped`) and go on, as `complete_step`."""
        step = self._current(run, "skip the step of", {"Running"}, WORKABLE_STEP)
        return self._advance_past(run, step, "ManuallySkipped", by)

    def repeat_step(self, run: str) -> str:
        """Go to the same step once more: a new step tracker, `GoToStepIterationCount` one higher; returns it."""
        step = self._current(run, "repeat the step of", {"Running"}, WORKABLE_STEP)
        with self._transaction_by() as transaction:
            self._close_step(transaction, step, "Completed", "AutomaticallyCompleted")
            repeated = self._enter(
                transaction,
                run,
                self.catalogue.step(step["ActionCadenceStepId"]),
                repetition=(step.get("GoToStepIterationCount") or 0) + 1,
            )
            transaction.update(TRACKER, run, CurrentStepId=repeated, LastCompletedStepId=step["Id"])
        return repeated

    # ------------------------------------------------------------ interruptions

    def pause(self, *runs: str, resume_at: int | None = None) -> list[str]:
        """Pause runs in one transaction, until `resume_at` if given; returns their step trackers."""
        steps = [self._current(run, "pause", {"Running"}, OPEN_STEP) for run in runs]
        self._surface_processing(runs)
        with self._transaction_by() as transaction:
            for run in runs:
                transaction.update(TRACKER, run, State="Paused", ScheduledResumeDateTime=resume_at)
            for step in steps:
                transaction.update(STEP_TRACKER, step["Id"], State="Paused", WasEverPaused=True)
        return [step["Id"] for step in steps]

    def resume(self, *runs: str) -> list[str]:
        """Resume paused runs in one transaction; returns their step trackers."""
        steps = [self._current(run, "resume", {"Paused"}, OPEN_STEP) for run in runs]
        self._surface_processing(runs)
        with self._transaction_by() as transaction:
            for run, step in zip(runs, steps, strict=True):
                until = self._wait_end(self.catalogue.step(step["ActionCadenceStepId"]))
                transaction.update(TRACKER, run, State="Running", ScheduledResumeDateTime=until)
            for step in steps:
                transaction.update(STEP_TRACKER, step["Id"], State=initial_step_state(step["StepType"]))
        return [step["Id"] for step in steps]

    def fail(self, run: str, code: str = "RETRY_LATER", message: str | None = None) -> str:
        """The current step fails with one of Salesforce's error codes; returns the step tracker."""
        step = self._current(run, "fail", {"Running"}, WORKABLE_STEP)
        text = message or f"The step couldn't be completed: {code}"
        with self._transaction_by() as transaction:
            transaction.update(STEP_TRACKER, step["Id"], State="Error", ErrorCode=code)
            transaction.update(TRACKER, run, State="Error", ErrorMessage=text)
        return str(step["Id"])

    def retry(self, run: str) -> str:
        """Try the failed step again; returns the step tracker."""
        step = self._current(run, "retry", {"Error"}, {"Error"})
        with self._transaction_by() as transaction:
            state = initial_step_state(step["StepType"])
            transaction.update(STEP_TRACKER, step["Id"], State=state, ErrorCode=None)
            transaction.update(TRACKER, run, State="Running", ErrorMessage=None)
        return str(step["Id"])

    # ------------------------------------------------------------ attributes

    def reassign(self, *runs: str, owner: str | None = None) -> str:
        """Give runs to another user in one transaction; returns the new owner."""
        first = self._run(runs[0], "reassign", OPEN_RUN)
        new_owner = owner or self._random.choice([each for each in self.users if each != first["OwnerId"]])
        with self._transaction_by() as transaction:
            for run in runs:
                self._run(run, "reassign", OPEN_RUN)
                transaction.update(TRACKER, run, OwnerId=new_owner)
        return new_owner

    def attribute(self, run: str, related_to: str | None = None, attribution: str = "Maturation") -> str:
        """Relate the run to an opportunity or invoice; returns its id."""
        related = related_to or self.org.ids.next("Opportunity")
        with self._transaction_by() as transaction:
            transaction.update(TRACKER, run, RelatedToId=related, RelatedToAttributionType=attribution)
        return related

    def modify(self, run: str, **values: str) -> str:
        """Set attributes of a run in one transaction, before or after its end; returns the run."""
        with self._transaction_by() as transaction:
            transaction.update(TRACKER, run, **values)
        return run

    def set_disposition(self, run: str, disposition: str = "Customer Engaged") -> str:
        """Record how the run came out, before or after its end; returns the disposition."""
        with self._transaction_by() as transaction:
            transaction.update(TRACKER, run, CompletionDisposition=disposition)
        return disposition

    # ------------------------------------------------------------ endings

    def remove(self, run: str, disposition: str | None = None, *, by: str | None = None, **more: str) -> str:
        """A person removes the target: `Complete`, `ManuallyRemoved`, and `more` fields; returns the run."""
        values = more if disposition is None else {**more, "CompletionDisposition": disposition}
        return self._end(run, "remove", "ManuallyRemoved", by=by, **values)

    def exit(self, run: str, rule: str | None = None) -> str:
        """An exit rule takes the target out: `AutomaticallyExited`; returns the run."""
        return self._end(run, "exit", "AutomaticallyExited", ExitGlobalRuleId=rule or self._exit_rule())

    def convert(self, run: str) -> str:
        """The lead is converted: `LeadConverted`; returns the run."""
        return self._end(run, "convert", "LeadConverted")

    def chain(self, run: str, cadence: str | None = None) -> str:
        """Go on in another cadence (default: where this one leads): `DaisyChained`, and a new run, which is returned."""
        step = self._current(run, "chain", {"Running"}, WORKABLE_STEP)
        with self._transaction_by() as transaction:
            self._close_step(transaction, step, "Completed", "AutomaticallyCompleted")
            return self._chain(transaction, run, step["Id"], cadence)

    def delete(self, run: str) -> str:
        """Delete the tracker and, with it, its step trackers; returns the run."""
        with self._transaction_by() as transaction:
            transaction.delete(TRACKER, run)
            for step in self._steps_of(run, deleted=False):
                transaction.delete(STEP_TRACKER, step)
        self._run_closed(run)
        return run

    def undelete(self, run: str) -> str:
        """Bring a deleted run back with its steps; returns the run."""
        with self._transaction_by() as transaction:
            transaction.undelete(TRACKER, run)
            for step in self._steps_of(run, deleted=True):
                transaction.undelete(STEP_TRACKER, step)
        if self.org.get(TRACKER, run)["State"] in OPEN_RUN:
            self._run_opened(run)
        return run

    def finish(self, run: str) -> str:
        """Bring a run to its natural end from wherever it is; returns the run."""
        while (state := self.org.get(TRACKER, run)["State"]) != "Complete":
            if state == "Paused":
                self.resume(run)
            elif state == "Error":
                self.retry(run)
            else:
                self.complete_step(run)
        return run
