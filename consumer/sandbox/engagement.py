"""Sales Engagement: one method for each thing that can happen to a run.

Each method is one transaction (two where an option makes a transitional state visible) that changes the run's tracker
and its open step tracker as the documented state machines suggest. If the run's state does not allow it, the method
raises `IllegalTransition`. It returns the id that a scenario needs next. All ids have eighteen characters, all times
are epoch milliseconds of org time.
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
    """Move targets through cadences."""

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
        """Enrol a target in a cadence (name or id), at the step `start` (id).

        Returns the run, the id of its new tracker.
        """
        first = None if start is None else self.catalogue.step(start)
        with self._transaction_by() as transaction:
            return self._start(
                transaction, self._cadence(cadence), target, owner, related_to=related_to, first=first
            )

    def enrol_many(self, count: int, cadence: str | None = None, owner: str | None = None) -> list[str]:
        """Enrol `count` targets in one transaction, like a bulk action; returns the runs."""
        resolved = self._cadence(cadence)
        with self._transaction_by() as transaction:
            return [self._start(transaction, resolved, None, owner) for _ in range(count)]

    # ------------------------------------------------------------ steps

    def open_step(self, run: str) -> str:
        """Open the current step, as a sales rep: `InProgress`; returns the step tracker."""
        return self._change_step(run, "open the step of", {"Active"}, State="InProgress")

    def schedule_email(self, run: str, at: int | None = None) -> str:
        """Schedule the current step's e-mail; returns the step tracker.

        Default: in an hour.
        """
        start = self._whole_second_after(HOUR) if at is None else at
        states = {"Active", "InProgress"}
        return self._change_step(
            run, "schedule the e-mail of", states, State="Scheduled", ScheduledStartDateTime=start
        )

    def queue_email(self, run: str) -> str:
        """Queue the scheduled e-mail for sending; returns the step tracker."""
        return self._change_step(run, "queue the e-mail of", {"Scheduled"}, State="Queued")

    def change_due(self, run: str, due: int | None = None) -> str:
        """Move the current step's due time; returns the step tracker.

        Default: two days from now.
        """
        moved = self._whole_second_after(2 * DAY) if due is None else due
        return self._change_step(run, "move the due time of", OPEN_STEP, DueDateTime=moved)

    def change_start(self, run: str, at: int | None = None) -> str:
        """Move the current step's scheduled start; returns the step tracker.

        Default: in two hours.
        """
        moved = self._whole_second_after(2 * HOUR) if at is None else at
        return self._change_step(run, "move the start of", OPEN_STEP, ScheduledStartDateTime=moved)

    def complete_step(self, run: str, *, manual: bool | None = None, by: str | None = None) -> str | None:
        """Complete the current step; returns the next step tracker, None after the last.

        `manual` chooses the completion reason (default: by the step's type). If a DaisyChain step is next, this run
        ends and another starts, see `chain`.
        """
        step = self._current(run, "complete the step of", {"Running"}, WORKABLE_STEP)
        if manual is None:
            manual = step["StepType"] not in AUTOMATIC_STEPS
        return self._advance_past(run, step, "ManuallyCompleted" if manual else "AutomaticallyCompleted", by)

    def skip_step(self, run: str, *, by: str | None = None) -> str | None:
        """Skip the current step (`Completed`, `ManuallySkipped`), else as `complete_step`."""
        step = self._current(run, "skip the step of", {"Running"}, WORKABLE_STEP)
        return self._advance_past(run, step, "ManuallySkipped", by)

    def repeat_step(self, run: str) -> str:
        """Repeat the current step; returns its new step tracker.

        `GoToStepIterationCount` of the new tracker is one higher.
        """
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
        """Pause runs in one transaction, until `resume_at` if set; returns step trackers."""
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
        """Fail the current step with a Salesforce error code; returns the step tracker."""
        step = self._current(run, "fail", {"Running"}, WORKABLE_STEP)
        text = message or f"The step couldn't be completed: {code}"
        with self._transaction_by() as transaction:
            transaction.update(STEP_TRACKER, step["Id"], State="Error", ErrorCode=code)
            transaction.update(TRACKER, run, State="Error", ErrorMessage=text)
        return str(step["Id"])

    def retry(self, run: str) -> str:
        """Retry the failed step; returns the step tracker."""
        step = self._current(run, "retry", {"Error"}, {"Error"})
        with self._transaction_by() as transaction:
            state = initial_step_state(step["StepType"])
            transaction.update(STEP_TRACKER, step["Id"], State=state, ErrorCode=None)
            transaction.update(TRACKER, run, State="Running", ErrorMessage=None)
        return str(step["Id"])

    # ------------------------------------------------------------ attributes

    def reassign(self, *runs: str, owner: str | None = None) -> str:
        """Reassign runs to another user in one transaction; returns the new owner."""
        first = self._run(runs[0], "reassign", OPEN_RUN)
        new_owner = owner or self._random.choice([user for user in self.users if user != first["OwnerId"]])
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
        """Set attributes of a run, before or after its end; returns the run."""
        with self._transaction_by() as transaction:
            transaction.update(TRACKER, run, **values)
        return run

    def set_disposition(self, run: str, disposition: str = "Customer Engaged") -> str:
        """Set a run's completion disposition, before or after its end; returns it."""
        with self._transaction_by() as transaction:
            transaction.update(TRACKER, run, CompletionDisposition=disposition)
        return disposition

    # ------------------------------------------------------------ endings

    def remove(
        self, run: str, disposition: str | None = None, *, by: str | None = None, **values: str
    ) -> str:
        """Remove the target, as a user: `Complete`, `ManuallyRemoved`; returns the run.

        `values` are further fields of the tracker to set.
        """
        if disposition is not None:
            values["CompletionDisposition"] = disposition
        return self._end(run, "remove", "ManuallyRemoved", by=by, **values)

    def exit(self, run: str, rule: str | None = None) -> str:
        """Remove the target by an exit rule: `AutomaticallyExited`; returns the run."""
        return self._end(run, "exit", "AutomaticallyExited", ExitGlobalRuleId=rule or self._exit_rule())

    def convert(self, run: str) -> str:
        """End the run because its lead is converted: `LeadConverted`; returns the run."""
        return self._end(run, "convert", "LeadConverted")

    def chain(self, run: str, cadence: str | None = None) -> str:
        """End the run as `DaisyChained`, start one in another cadence; returns the latter.

        The default cadence is the one that the present cadence leads to.
        """
        step = self._current(run, "chain", {"Running"}, WORKABLE_STEP)
        with self._transaction_by() as transaction:
            self._close_step(transaction, step, "Completed", "AutomaticallyCompleted")
            return self._chain(transaction, run, step["Id"], cadence)

    def delete(self, run: str) -> str:
        """Delete the tracker together with its step trackers; returns the run."""
        with self._transaction_by() as transaction:
            transaction.delete(TRACKER, run)
            for step in self._steps_of(run, deleted=False):
                transaction.delete(STEP_TRACKER, step)
        self._run_closed(run)
        return run

    def undelete(self, run: str) -> str:
        """Undelete a run together with its steps; returns the run."""
        with self._transaction_by() as transaction:
            transaction.undelete(TRACKER, run)
            for step in self._steps_of(run, deleted=True):
                transaction.undelete(STEP_TRACKER, step)
        if self.org.get(TRACKER, run)["State"] in OPEN_RUN:
            self._run_opened(run)
        return run

    def finish(self, run: str) -> str:
        """Complete a run from whatever state it is in; returns the run."""
        while (state := self.org.get(TRACKER, run)["State"]) != "Complete":
            if state == "Paused":
                self.resume(run)
            elif state == "Error":
                self.retry(run)
            else:
                self.complete_step(run)
        return run
