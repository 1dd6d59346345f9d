"""Scripted run of a cadence, with the lifecycle events of the service.

Each method is one transaction: change events are built as Salesforce publishes them (the run's and the step's in one transaction where
both change) and interpreted by :mod:`consumer.domain.lifecycle`, so a test sees the events, ids and fields that production would send.
"""

from __future__ import annotations

from typing import Any, Self

import orjson

from consumer.clock import iso
from consumer.domain.change_events import decode
from consumer.domain.lifecycle import OrgInfo, interpret
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.domain.objects import RUN, STEP
from consumer.domain.record_ids import to_18
from consumer.domain.record_state import RecordState

__all__ = ["ScriptedRun"]

ORG = to_18("00D5e000000TEST")
USER = to_18("0055e000000TEST")
START_MS = 1_767_261_600_000
"""Beginning of all runs: 2026-01-01T10:00Z."""
COMMITS_PER_RUN = 1_000
"""Distance of the first commit numbers of two runs."""


class ScriptedRun:
    """Run whose methods return the run itself, so that a script is one expression.

    Args:
        number: keeps its ids and commit numbers apart from those of other runs.
        cadence: name of the cadence.
        owner: id of the assignee.
        minutes: minutes between two transactions.

    Attributes:
        tracker_id: id of the run.
        target_id: id of the prospect, a Lead.
        cadence_id: id of the cadence.
        events: lifecycle events so far, in order.
    """

    def __init__(
        self, number: int = 1, *, cadence: str = "Outbound Prospecting", owner: str = USER, minutes: int = 5
    ) -> None:
        self.tracker_id = to_18(f"0qB5e0000{number:06d}")
        self.target_id = to_18(f"00Q5e0000{number:06d}")
        self.cadence_id = to_18("77C5e0000000001")
        self.events: list[LifecycleEvent] = []
        self._number = number
        self._owner = owner
        self._minutes = minutes
        self._org = OrgInfo(ORG, "https://example.my.salesforce.com", {self.cadence_id: cadence})
        self._states: dict[str, RecordState] = {}
        self._steps = 0
        self._commit_number = number * COMMITS_PER_RUN
        self._now_ms = START_MS + number * 1_000

    @property
    def step_tracker_id(self) -> str:
        """Id of the current step.

        Raises:
            RuntimeError: no step has begun.
        """
        if not self._steps:
            raise RuntimeError("no step of this run has begun; call begin_step() first")
        return self._step_id(self._steps)

    # ------------------------------------------------------------ transactions

    def enrol(self) -> Self:
        """Add the target to the cadence: ``run.enrolled``, ``run.started``."""
        fields = {
            "State": "Running",
            "TargetId": self.target_id,
            "ActionCadenceId": self.cadence_id,
            "OwnerId": self._owner,
        }
        return self._transaction(("CREATE", RUN, self.tracker_id, fields))

    def begin_step(self, step_type: str = "SendAnEmail", *, title: str = "First Touch") -> Self:
        """Advance the run to a new step.

        Events: ``step.created``, ``step.activated``, ``run.advanced``.
        """
        self._steps += 1
        step_id = self.step_tracker_id
        fields = {
            "State": "Active",
            "StepType": step_type,
            "StepTitle": title,
            "ActionCadenceTrackerId": self.tracker_id,
            "ActionCadenceId": self.cadence_id,
            "ActionCadenceStepId": to_18(f"8HE5e0000{self._steps:06d}"),
            "TargetId": self.target_id,
        }
        return self._transaction(
            ("CREATE", STEP, step_id, fields),
            ("UPDATE", RUN, self.tracker_id, {"CurrentStepId": step_id}),
        )

    def complete_step(self) -> Self:
        """Complete the current step: ``step.ended.completed``."""
        return self.step(State="Completed", CompletionReason="ManuallyCompleted")

    def skip_step(self) -> Self:
        """Skip the current step: ``step.ended.skipped``."""
        return self.step(State="Completed", CompletionReason="ManuallySkipped")

    def fail_step(self, code: str = "TARGET_EMAIL_BOUNCED") -> Self:
        """Fail the current step: ``step.failed`` with one of the documented error codes."""
        return self.step(State="Error", ErrorCode=code)

    def pause(self) -> Self:
        """Pause the run: ``run.paused``."""
        return self.change(State="Paused")

    def resume(self) -> Self:
        """Resume the run: ``run.resumed``."""
        return self.change(State="Running")

    def fail(self, message: str = "The target could not be loaded.") -> Self:
        """Fail the run: ``run.failed``."""
        return self.change(State="Error", ErrorMessage=message)

    def reassign(self, owner: str) -> Self:
        """Reassign the run to another owner: ``run.reassigned``."""
        return self.change(OwnerId=owner)

    def end(self, reason: str = "NoMoreSteps", *, disposition: str | None = None) -> Self:
        """End the run for a documented ``CompletionReason``: ``run.ended.*``."""
        fields = {"State": "Complete", "CompletionReason": reason}
        if disposition is not None:
            fields["CompletionDisposition"] = disposition
        return self.change(**fields)

    def change(self, **fields: Any) -> Self:
        """Change any fields of the run, by their API names."""
        return self._transaction(("UPDATE", RUN, self.tracker_id, fields))

    def step(self, **fields: Any) -> Self:
        """Change any fields of the current step, by their API names."""
        return self._transaction(("UPDATE", STEP, self.step_tracker_id, fields))

    # ------------------------------------------------------------ change events

    def _step_id(self, step: int) -> str:
        return to_18(f"8HF5e{self._number:06d}{step:04d}")

    def _transaction(self, *changes: tuple[str, str, str, dict[str, Any]]) -> Self:
        self._commit_number += 1
        self._now_ms += self._minutes * 60_000
        for sequence, (kind, entity, record_id, fields) in enumerate(changes, 1):
            if kind == "UPDATE" and self.tracker_id not in self._states:
                raise RuntimeError("this run has not begun; call enrol() first")
            self._publish(kind, entity, record_id, fields, sequence)
        return self

    def _publish(self, kind: str, entity: str, record_id: str, fields: dict[str, Any], sequence: int) -> None:
        stamped = {**fields, "LastModifiedDate": iso(self._now_ms)}
        header = {
            "entityName": entity,
            "recordIds": [record_id],
            "changeType": kind,
            "changeOrigin": "",
            "transactionKey": f"00000000-0000-4000-8000-{self._commit_number:012x}",
            "sequenceNumber": sequence,
            "commitTimestamp": self._now_ms,
            "commitNumber": self._commit_number,
            "commitUser": self._owner,
            "changedFields": sorted(stamped) if kind == "UPDATE" else [],
        }
        replay_id = self._commit_number * 10 + sequence
        message = {
            "channel": f"/data/{entity}ChangeEvent",
            "data": {
                "event": {"replayId": replay_id},
                "payload": {**stamped, "ChangeEventHeader": header},
            },
        }
        [change] = decode(message, f"/data/{entity}ChangeEvent", str(replay_id))
        state, events = interpret(
            change,
            (0, self._commit_number, sequence),
            self._states.get(record_id),
            self._states.get(self.tracker_id),
            self._org,
            late=False,
        )
        self._states[record_id] = state
        self.events += [LifecycleEvent.from_json(orjson.dumps(event)) for event in events]
