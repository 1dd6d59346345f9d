"""Change events for tests, shaped like the captures: ten header keys in the captured order, numbers as integers."""

from collections.abc import Sequence
from typing import Any

from consumer.domain.change_events import Change, decode

RUN = "ActionCadenceTracker"
STEP = "ActionCadenceStepTracker"
RUN_CHANNEL = "/data/ActionCadenceTrackerChangeEvent"
STEP_CHANNEL = "/data/ActionCadenceStepTrackerChangeEvent"
RUN_1 = "0qBWP0000001AbC2AU"
RUN_2 = "0qBWP0000001AbF2AU"
STEP_1 = "8HFWP0000001AbD4AU"
STEP_2 = "8HFWP0000001AbE4AU"
USER = "005WP000000M6o1YAC"
ORG = "00DWP0000001234MAA"
COMMIT_MS = 1_767_261_600_000


def message(
    kind: str,
    entity: str,
    record_ids: str | Sequence[str],
    fields: dict[str, Any] | None = None,
    *,
    commit: int,
    sequence: int = 1,
    position: int | str | None = None,
    transaction: str | None = None,
    channel: str | None = None,
    commit_ms: int | None = None,
    changed: Sequence[str] | None = None,
) -> dict[str, Any]:
    """One CometD data message."""
    fields = dict(fields or {})
    ids = [record_ids] if isinstance(record_ids, str) else list(record_ids)
    return {
        "data": {
            "schema": "SYNTHETICschemaId_AAAA",
            "payload": {
                **fields,
                "ChangeEventHeader": {
                    "commitNumber": commit,
                    "commitUser": USER,
                    "sequenceNumber": sequence,
                    "entityName": entity,
                    "changeType": kind,
                    "changedFields": (list(changed) if changed is not None else list(fields))
                    if kind == "UPDATE"
                    else [],
                    "changeOrigin": "",
                    "transactionKey": transaction or f"0001ade9-3f74-0b99-dbc4-{commit:012x}",
                    "commitTimestamp": commit_ms if commit_ms is not None else COMMIT_MS + commit * 1000,
                    "recordIds": ids,
                },
            },
            "event": {"replayId": position if position is not None else commit * 10 + sequence},
        },
        "channel": channel or (RUN_CHANNEL if entity == RUN else STEP_CHANNEL),
    }


def changes(*args: Any, **kwargs: Any) -> list[Change]:
    """The changes of one message."""
    one = message(*args, **kwargs)
    return decode(one, one["channel"], str(one["data"]["event"]["replayId"]))


def change(*args: Any, **kwargs: Any) -> Change:
    """The change of a message about one record."""
    (only,) = changes(*args, **kwargs)
    return only
