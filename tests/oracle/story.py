"""A small ledger written by hand: one call, one message, in commit order unless told otherwise."""

from __future__ import annotations

from typing import Any

from tests.oracle.wire import RUN

T0 = 1_767_261_600_000
"""Commit time of transaction 1 less a second, epoch ms (2026-01-01T10:00:00Z); every further transaction is a second later."""


class Story:
    """Builds messages; `commit` counts transactions, sequence numbers count within one."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._commit = 0
        self._sequence = 0

    def transaction(self) -> None:
        """What follows belongs to a new transaction."""
        self._commit += 1
        self._sequence = 0

    def add(
        self,
        kind: str,
        entity: str,
        *record_ids: str,
        changed: list[str] | None = None,
        same_transaction: bool = False,
        **fields: Any,
    ) -> dict[str, Any]:
        """Add a message and return it.

        Args:
            kind: the change type.
            entity: API name of the object.
            record_ids: what changed; several make a merged event.
            changed: ``changedFields``; default: every field given, for an UPDATE.
            same_transaction: it goes on with the transaction of the message before.
            fields: the body.
        """
        if not same_transaction:
            self.transaction()
        self._sequence += 1
        if changed is None:
            changed = ["LastModifiedDate", *fields] if kind == "UPDATE" else []
        body = fields if kind.startswith("GAP_") or kind == "DELETE" else {"LastModifiedDate": "-", **fields}
        header = {
            "entityName": entity,
            "recordIds": list(record_ids),
            "changeType": kind,
            "changeOrigin": "",
            "transactionKey": f"000-{self._commit}",
            "sequenceNumber": self._sequence,
            "commitTimestamp": T0 + 1000 * self._commit,
            "commitUser": "005A",
            "commitNumber": 100 * self._commit,
            "changedFields": changed,
        }
        channel = "/data/ActionCadenceTrackerChangeEvent"
        if entity != RUN:
            channel = "/data/ActionCadenceStepTrackerChangeEvent"
        message = {
            "channel": channel,
            "data": {
                "schema": "s",
                "payload": {**body, "ChangeEventHeader": header},
                "event": {"replayId": 7 * len(self.messages)},
            },
        }
        self.messages.append(message)
        return message
