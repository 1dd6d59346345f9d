"""Samples of what each reader usually reads, made of what the other tests are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import orjson

from consumer.delivery.cursor import Cursor
from consumer.domain.lifecycle import OrgInfo, interpret
from consumer.domain.reconcile_task import (
    gap_task,
    snapshot_task,
    sweep_task,
    window_task,
)
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import ROW_FIELDS
from consumer.domain.target_runs import TargetRuns
from consumer.ports.commit import ChannelState
from consumer.ports.delivery import SavedBlockedRun
from consumer.stores.encoding import encode_blocked_run, encode_channels
from tests.support.builders.changes import (
    COMMIT_MS,
    ORG,
    RUN,
    RUN_1,
    RUN_2,
    RUN_CHANNEL,
    STEP,
    STEP_1,
    USER,
    change,
    message,
)

__all__ = ["SEEDS"]

TARGET = "00QWP0000001AbC2AU"
DUE = "2026-01-31T09:30:00.000Z"
THERE = OrgInfo(ORG, "https://example.my.salesforce.com", {})

_STORY = (
    ("CREATE", RUN, RUN_1, {"State": "Running", "OwnerId": USER, "TargetId": TARGET, "DaisyChainIteration": 1}),
    ("CREATE", STEP, STEP_1, {"State": "Active", "ActionCadenceTrackerId": RUN_1, "StepType": "SendAnEmail", "DueDateTime": DUE}),
    ("UPDATE", STEP, STEP_1, {"State": "Error", "ErrorCode": "EmailBounced", "LastModifiedDate": "2026-01-31T10:00:00.000+0000"}),
    ("UPDATE", RUN, RUN_1, {"State": "Paused", "ScheduledResumeDateTime": DUE, "CurrentStepId": STEP_1[:15]}),
    ("UPDATE", RUN, [RUN_1, RUN_2], {"State": "Complete", "CompletionReason": "ManuallyRemoved", "Later__c": {"a": [1.5]}}),
    ("DELETE", RUN, RUN_1, {}),
    ("UNDELETE", RUN, RUN_1, {"State": "Running", "IsTrackerActive": True}),
    ("GAP_UPDATE", RUN, [RUN_1, RUN_2], {}),
    ("GAP_OVERFLOW", STEP, "000000000000000AAA", {}),
    ("UPDATE", RUN, "0qB*", {}),
)  # fmt: skip

_MESSAGES = [
    message(kind, entity, ids, fields, commit=number)
    for number, (kind, entity, ids, fields) in enumerate(_STORY, 1)
]


def _lived() -> tuple[list[bytes], list[bytes]]:
    """Stored states and journal entries, as a short life makes them."""
    states: list[bytes] = []
    journal: list[bytes] = []
    known: dict[str, RecordState] = {}
    for number, (kind, entity, ids, fields) in enumerate(_STORY, 1):
        if kind.startswith("GAP") or not isinstance(ids, str) or "*" in ids:
            continue
        one = change(kind, entity, ids, fields, commit=number)
        run = known.get(RUN_1)
        known[ids], events = interpret(one, (0, number, 1), known.get(ids), run, THERE, late=number == 4)
        states.append(known[ids].with_fired("step.overdue", COMMIT_MS).encode())
        journal += map(orjson.dumps, events)
    states.append(known[RUN_1].with_row({"State": "Running"}, COMMIT_MS, deleted=False).encode())
    return states, journal


_STATES, _JOURNAL = _lived()


def _answers() -> list[bytes]:
    reply = {"channel": "/meta/connect", "id": "7", "successful": True, "clientId": "c1"}
    unknown = {
        "error": "403::Unknown client",
        "successful": False,
        "advice": {"reconnect": "handshake", "interval": 0},
    }
    busy = {
        **reply,
        "successful": False,
        "error": "401::Authentication invalid",
        "ext": {"sfdc": {"failureReason": "503::Server is too busy"}},
    }
    refused = {
        "channel": "/meta/subscribe",
        "id": "8",
        "subscription": RUN_CHANNEL,
        "successful": False,
        "error": "400::The replayId {42} you provided was invalid.",
    }
    expired = [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]
    both = [
        {"channel": "/meta/subscribe", "id": str(8 + at), "subscription": channel, "successful": True}
        for at, channel in enumerate((RUN_CHANNEL, "/data/ChangeEvents"))
    ]
    return _json(
        [reply],
        [*_MESSAGES[:2], reply],
        [_MESSAGES[4], {**_MESSAGES[0], "data": {"payload": {"ChangeEventHeader": {"recordIds": [[]]}}, "event": {"replayId": "x"}}}, reply],
        [unknown],
        [busy],
        [refused, both[1]],
        expired,
        both,
        [reply, {"channel": "/meta/disconnect"}],
        [{**reply, "id": 7, "advice": {"reconnect": "none"}}],
        [{"channel": "/meta/handshake", "id": "1", "version": "1.0", "clientId": "c1", "successful": True}],
    )  # fmt: skip


def _rows() -> list[bytes]:
    values = {
        "Id": RUN_1,
        "SystemModstamp": "2026-01-31T09:30:00.000+0000",
        "LastModifiedDate": "2026-01-31T09:30:00.000+0000",
        "State": "Running",
        "OwnerId": USER,
        "TargetId": TARGET,
        "DaisyChainIteration": 2,
        "ScheduledResumeDateTime": DUE,
        "IsDeleted": False,
        "attributes": {"type": RUN, "url": f"/services/data/v66.0/sobjects/{RUN}/{RUN_1}"},
    }
    step = {
        "Id": STEP_1,
        "SystemModstamp": DUE,
        "State": "Active",
        "ActionCadenceTrackerId": RUN_1,
        "DueDateTime": DUE,
    }
    return _json(
        values,
        {**values, "State": "Complete", "IsDeleted": True},
        step,
        {**dict.fromkeys(ROW_FIELDS[STEP]), **step},
    )  # fmt: skip


def _rest() -> list[bytes]:
    row = orjson.loads(_rows()[0])
    return _json(
        {"totalSize": 1, "done": True, "records": [row]},
        {"totalSize": 2, "done": False, "nextRecordsUrl": "/services/data/v66.0/query/01g-2000", "records": [row]},
        {"deletedRecords": [{"deletedDate": "2026-01-31T09:30:00.000+0000", "id": RUN_1}], "earliestDateAvailable": DUE,
         "latestDateCovered": DUE},
        {"DailyDeliveredDurableEvents": {"Max": 50_000, "Remaining": 1}},
        [{"label": "Spring '26", "url": "/services/data/v66.0", "version": "66.0"}],
        [row, None],
        [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}],
        [{"actionName": "assignTargetToSalesCadence", "isSuccess": False, "outputValues": None,
          "errors": [{"statusCode": "UNKNOWN_EXCEPTION", "message": "no", "fields": []}]}],
    )  # fmt: skip


def _tokens() -> list[bytes]:
    return _json(
        {
            "access_token": "00D!token",
            "instance_url": "https://example.my.salesforce.com",
            "id": f"https://login.salesforce.com/id/{ORG}/{USER}",
            "issued_at": str(COMMIT_MS),
            "organization_id": ORG,
            "user_id": USER,
        },
        {"error": "invalid_grant", "error_description": "authentication failure"},
        {"error": "invalid_grant", "error_description": "login rate exceeded"},
    )


def _settings() -> list[bytes]:
    return [
        b"",
        (
            b'channels = ["/data/ChangeEvents"]\n[salesforce]\nlogin_url = "https://login.salesforce.com"\nauth = "access_token"\n'
            b'access_token = "x"\ninstance_url = "https://example.my.salesforce.com"\n[store]\nurl = "redis://127.0.0.1:6379/0"\n'
        ),
        b'[ordering]\nlateness = "2s"\nwindow = 50\nmax_hold = 1h30m\n',
        (
            b'[handlers.crm-sync]\nuse = "jsonl"\non = ["run.*"]\nstart = "2026-01-31T09:30:00Z"\nmax_age = "PT15M"\nrate = 2.5\n'
            b'settings.path = "a"\nsettings.keep = 3\n'
        ),
        b'[http]\ntoken_file = "token"\nport = 8080\n[log]\nlevel = "info"\n[journal]\nretention = 90\n',
        b'[store]\nurl = "sqlite:///a.db"\n[commit]\nmax_delay = inf\n[lease]\nduration = "-1s"\n[salesforce]\nprivate_key = "-----BEGIN"\n',
        b'[store]\nurl = "redis+sentinel://a:26379,b/mymaster/0"\n[http]\nport = 0\nhost = "::"\n',
    ]


def _headers(*texts: str) -> list[bytes]:
    """A byte for the status, then the header."""
    return [bytes((status,)) + text.encode() for status in (0, 29, 210) for text in texts]


def _json(*values: object) -> list[bytes]:
    return [orjson.dumps(value) for value in values]


_CHANNELS = {
    RUN_CHANNEL: ChannelState(COMMIT_MS, "42", COMMIT_MS, COMMIT_MS, 7),
    "/data/ChangeEvents": ChannelState(1),
}
_DATES = (
    "120",
    "Sat, 31 Jan 2026 09:30:00 GMT",
    "Sat, 31 Jan 2026 09:30:00 -0000",
    "31 Jan 26 9:30 +0100",
    "-1",
    "",
)

SEEDS: Mapping[str, Sequence[bytes]] = {
    "answer": _answers(),
    "event": [orjson.dumps(one["data"]["payload"]) for one in _MESSAGES],
    "row": _rows(),
    "rest": _rest(),
    "token": _tokens(),
    "date": [date.encode() for date in _DATES],
    "journal": _JOURNAL,
    "state": _STATES,
    "target": [TargetRuns(TARGET, ((RUN_1, 1), (RUN_2, None))).encode()],
    "task": [
        one.encode()
        for one in (
            gap_task(RUN_CHANNEL, "42", RUN, (RUN_1, RUN_2)),
            window_task("expired", "42", STEP, COMMIT_MS, COMMIT_MS),
            snapshot_task(RUN, "first", verify=True),
            sweep_task(RUN, COMMIT_MS, 3_600_000),
        )
    ],
    "cursor": [
        b'{"v":1,"offset":3,"settled":[]}',
        b'{"v":2,"offset":41,"settled":[[43,60],[62,62]]}',
        Cursor(7, [(9, 12)]).snapshot(),
    ],
    "channels": [encode_channels(_CHANNELS)],
    "blocked_run": [encode_blocked_run(SavedBlockedRun(RUN_1, 4, 2, COMMIT_MS, "it failed", (5, 7))), encode_blocked_run(SavedBlockedRun(None, 1))],
    "export": _json({"format": 1, "org_id": ORG, "channels": {each: asdict(state) for each, state in _CHANNELS.items()}}),
    "settings": _settings(),
    "environment": [
        b"CADENCE_STORE__URL=redis://a/0\nCADENCE_CHANNELS=/data/ChangeEvents,/data/X__chn\nCADENCE_ORDERING__LATENESS=2s",
        b'CADENCE_HANDLERS__CRM__USE=jsonl\nCADENCE_HANDLERS__CRM__SETTINGS__PATH=a\nCADENCE_HANDLERS__CRM__ON=["run.*"]',
        b"CADENCE_SALESFORCE__ACCESS_TOKEN=x\nCADENCE_HTTP__TOKEN_FILE=none\nCADENCE_LOG__LEVEL=info\nCADENCE_HTTP__PORT=80",
    ],
    "reply": _headers(*_DATES),
}  # fmt: skip
"""Target to samples."""
