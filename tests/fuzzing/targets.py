"""What may come of any bytes whatever: the errors that a reader promises and no others; and what holds of that which it accepts.

Each target is a function of bytes that returns when the promise was kept. What it raises is a defect. Nothing here knows of a fuzzer.
"""

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from pydantic import SecretStr

from consumer import Disable, Reject, Retry
from consumer.cli.checkpoint_positions import read_export
from consumer.clock import SystemClock
from consumer.delivery.cursor import Cursor
from consumer.domain.change_events import (
    Change,
    decode,
    decode_event,
    position_of,
)
from consumer.domain.lifecycle import OrgInfo, interpret
from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.domain.objects import ENTITIES
from consumer.domain.reconcile_task import ReconcileTask
from consumer.domain.record_ids import is_wildcard
from consumer.domain.record_state import RecordState
from consumer.domain.row_diff import interpret_row, read_row
from consumer.domain.target_runs import TargetRuns
from consumer.domain.timers import timers_of
from consumer.errors import AuthenticationFailed, BadEvent, EndReason, SettingsError, StoreForeign
from consumer.ingest.dead_letters import to_dead_letter
from consumer.ports.commit import ChannelState
from consumer.ports.source import Answer
from consumer.safe_json import is_shallow, loads, parse
from consumer.salesforce.action_sender import _parse_answers
from consumer.salesforce.bayeux import BadBody, http_date_ms, parse_answer
from consumer.salesforce.cometd_client import _to_wire
from consumer.salesforce.error_catalogue import Stage, http_reason, reply_reason
from consumer.salesforce.grants import StaticAccessToken
from consumer.salesforce.http_exchange import INLINE_BYTES, HttpAnswer
from consumer.salesforce.rest import RestClient, RestError
from consumer.salesforce.token_endpoint import _error_from_response, parse_token
from consumer.settings import Settings, load_settings
from consumer.stores.encoding import decode_blocked_run, decode_channels, encode_blocked_run, encode_channels
from handlers.webhook import MAX_RETRY_AFTER_S, _raise_for_status
from tests.support.builders.changes import (
    ORG,
    RUN,
    RUN_1,
    RUN_CHANNEL,
    STEP,
    STEP_1,
)

__all__ = ["TARGETS"]

THERE = OrgInfo(ORG, "https://example.my.salesforce.com", {})
KEY = (0, 1, 1)

_ASKED = (
    (Stage.HANDSHAKE, [{"channel": "/meta/handshake", "id": "1"}]),
    (
        Stage.SUBSCRIBE,
        [
            {"channel": "/meta/subscribe", "id": "8", "subscription": RUN_CHANNEL},
            {"channel": "/meta/subscribe", "id": "9", "subscription": "/data/ChangeEvents"},
        ],
    ),
    (Stage.CONNECT, [{"channel": "/meta/connect", "id": "7"}]),
)


# ---------------------------------------------------------------- Salesforce


def answer(data: bytes) -> None:
    """A poll answer is whole or refused whole; of a whole one every message is changes, or a dead dead_letter that can be stored."""
    for stage, sent in _ASKED:
        told(http_reason(stage, 400, "text/html", parse(data), data[:2_000].decode("utf-8", "replace")))
        try:
            exchange = parse_answer(stage, sent, data, 1, 1)
        except BadBody as fault:
            told(fault.reason)
            continue
        assert [reply["channel"] for reply in exchange.replies] == [one["channel"] for one in sent]
        for reply in exchange.replies:
            told(reply_reason(stage, reply, channel=RUN_CHANNEL, position="42"))
        if exchange.end_reason is not None:
            told(exchange.end_reason)
        if stage is Stage.CONNECT:
            polled(
                Answer(1, exchange.events, data, 1, 1, exchange.unusable, exchange.repaired, exchange.spans)
            )


def polled(answer: Answer) -> None:
    """Every message is changes, or a dead dead_letter with its own bytes."""
    for index, one in enumerate(answer.messages):
        position = position_of(one.get("data"))
        if index in answer.unusable:
            dead_letter = to_dead_letter(answer, index, one["channel"], position, answer.unusable[index], 1)
            assert dead_letter.raw in answer.body
            continue
        if position is not None:
            assert str(_to_wire(position)) == position
        try:
            changes = decode(one, one["channel"], position)
        except BadEvent as error:
            bad = error
        else:
            understood(changes)
            continue
        dead_letter = to_dead_letter(answer, index, one["channel"], position, bad, 1)
        again = loads(dead_letter.raw)
        assert again == one if is_shallow(one) else list(again) == list(one)
        assert dead_letter == to_dead_letter(answer, index, one["channel"], position, bad, 1)


def told(reason: EndReason) -> None:
    """A reason is one line that fits a log."""
    assert "\n" not in str(reason)
    assert len(reason.detail) < 500
    assert len(reason.code) < 40


def event(data: bytes) -> None:
    """The payload of a change event."""
    payload = loaded(data)
    if not isinstance(payload, dict):
        return
    try:
        changes = decode_event(payload, RUN_CHANNEL, "42")
    except BadEvent:
        return
    understood(changes)


def understood(changes: list[Change]) -> None:
    """What was taken for changes can be applied, stored, told, and read by every handler."""
    assert changes
    header = changes[0].header
    ENTITIES[header.entity].model_validate(changes[0].body)
    for one in changes[:3]:
        if one.is_gap or is_wildcard(one.record_id):
            continue
        for known in (None, KNOWN[header.entity]):
            state, events = interpret(one, (0, header.commit_number, 1), known, None, THERE, late=False)
            stored(state)
            run = state if header.entity == RUN else KNOWN[RUN]
            late_state, late = interpret(one, (0, header.commit_number, 0), state, run, THERE, late=True)
            stored(late_state)
            readable(events + late)


def stored(state: RecordState) -> None:
    encoded = state.encode()
    again = RecordState.decode(encoded)
    assert again.encode() == encoded
    assert again.announced == state.announced
    assert timers_of(again) == timers_of(state)


def readable(events: list[dict[str, Any]]) -> None:
    for one in events:
        data = orjson.dumps(one)
        typed = LifecycleEvent.from_json(data)
        assert LifecycleEvent.from_journal(data) == typed
        assert LifecycleEvent.from_json(typed.to_json()) == typed


def row(data: bytes) -> None:
    """A row of REST, of either object."""
    told_fields = parse(data)
    if not isinstance(told_fields, dict):
        return
    for entity in ENTITIES:
        try:
            one = read_row(entity, told_fields)
        except BadEvent:
            continue
        for known in (None, KNOWN[entity]):
            state, events = interpret_row(one, known, None, THERE, "gap")
            readable(events)
            if state is not None:
                stored(state)
                assert interpret_row(one, state, None, THERE, "gap")[1] == []


_DATED = {"Date": "Wed, 01 Jul 2026 09:30:15 GMT"}


class _Answered(RestClient):
    """A client to which every request is answered alike, and the third and further ones with the end of it."""

    def __init__(self, status: int, body: bytes) -> None:
        self._api_version = "66.0"
        self._left = [HttpAnswer(status, body, _DATED)] * 2

    async def _request_authorized(self, method: str, path: str, payload: Any, client: str) -> HttpAnswer:
        return self._left.pop() if self._left else HttpAnswer(200, b'{"done":true,"records":[]}', _DATED)


def rest(data: bytes) -> None:
    """An answer of REST is what was asked for or an error that says so."""
    for status in (200, 400):
        for ask in (
            lambda client: client.query("SELECT Id FROM X"),
            lambda client: client.count("SELECT COUNT() FROM X"),
            lambda client: client.page("SELECT Id FROM X"),
            lambda client: client.rows(RUN, [RUN_1, STEP_1], ["Id"]),
            lambda client: client.rows_with_time(RUN, [RUN_1, STEP_1], ["Id"]),
            lambda client: client.deleted(RUN, 0, 1),
            lambda client: client.limits(),
            lambda client: client.versions(),
        ):
            with suppress(RestError):
                client = _Answered(status, data)
                # Large answers are parsed in a thread.
                found = at_once(ask(client)) if len(data) <= INLINE_BYTES else asyncio.run(ask(client))
                for one in found.values() if isinstance(found, dict) else ():
                    assert isinstance(one, dict | tuple)
                for one in found if isinstance(found, list) else ():
                    assert isinstance(one, dict | tuple | str)
    _parse_answers(parse(data))


def token(data: bytes) -> None:
    """What an OAuth server says."""
    told_token = parse(data)
    refused = _error_from_response(400, told_token, ["secret"])
    assert "\n" not in str(refused)
    if not isinstance(told_token, dict):
        return
    with suppress(AuthenticationFailed):
        parse_token(told_token, "https://example.my.salesforce.com")
    with suppress(AuthenticationFailed):
        at_once(StaticAccessToken(SecretStr("x"), "https://example.com").obtain(_Endpoint(told_token)))  # type: ignore[arg-type]


class _Endpoint:
    clock = MappingProxyType({})

    def __init__(self, told_token: dict[str, Any]) -> None:
        self._told = told_token
        self.clock = _Now()  # type: ignore[assignment]

    async def userinfo(self, instance_url: str, token: SecretStr) -> dict[str, Any]:
        return self._told


class _Now(SystemClock):
    def monotonic_ms(self) -> int:
        return 1


def date(data: bytes) -> None:
    """An HTTP ``Date`` is a moment or nothing."""
    http_date_ms(data.decode("utf-8", "surrogateescape"))


# ---------------------------------------------------------------- the store


def journal(data: bytes) -> None:
    """A journal entry: what was read can be written, and both ways of reading that agree."""
    with suppress(ValueError):
        typed = LifecycleEvent.from_json(data)
        assert LifecycleEvent.from_journal(typed.to_json()) == typed
        assert LifecycleEvent.from_json(typed.to_json()) == typed
    with suppress(ValueError):
        later = LifecycleEvent.from_journal(data)
        for name in LifecycleEvent.model_fields:
            with suppress(ValueError):
                getattr(later, name)
        hash(later)


def state(data: bytes) -> None:
    """A stored state."""
    with suppress(StoreForeign):
        encoded = RecordState.decode(data).encode()
        assert RecordState.decode(encoded).encode() == encoded


def target(data: bytes) -> None:
    """The runs of a target."""
    with suppress(StoreForeign):
        encoded = TargetRuns.decode(data).encode()
        assert TargetRuns.decode(encoded).encode() == encoded


def task(data: bytes) -> None:
    """A reconcile task."""
    with suppress(StoreForeign):
        one = ReconcileTask.decode(data)
        assert ReconcileTask.decode(one.encode()) == one


def cursor(data: bytes) -> None:
    """A handler's place: what is above the offset and settled is not delivered again, and everything else is."""
    try:
        one = Cursor.load(data, window=100)
    except ValueError:
        return
    again = Cursor.load(one.snapshot(), window=100)
    assert (again.offset, again.ranges()) == (one.offset, one.ranges())
    spans = one.ranges()
    assert spans == sorted(spans)
    for offset in range(one.offset + 1, one.offset + 50):
        known = any(first <= offset <= last for first, last in spans)
        assert again.tracked(offset) is not known


def channels(data: bytes) -> None:
    """Positions, as stored."""
    with suppress(StoreForeign):
        found = decode_channels(data)
        plausible(found)
        assert decode_channels(encode_channels(found)) == found


def blocked_run(data: bytes) -> None:
    """A blocked run, as stored."""
    with suppress(StoreForeign):
        found = decode_blocked_run(data)
        assert decode_blocked_run(encode_blocked_run(found)) == found


# ---------------------------------------------------------------- people


def export(data: bytes) -> None:
    """A file for ``checkpoint import``."""
    try:
        org_id, found = read_export(data)
    except ValueError as error:
        words = str(error)
    else:
        words = ""
    assert "\n" not in words
    if words:
        return
    assert org_id is None or isinstance(org_id, str)
    plausible(found)
    assert decode_channels(encode_channels(found)) == found


def plausible(found: Mapping[str, ChannelState]) -> None:
    """What a tenure can begin with."""
    for one in found.values():
        assert type(one.birth_ms) is int
        assert one.position is None or isinstance(one.position, str)
        for field in fields(one):
            value = getattr(one, field.name)
            assert field.name == "position" or value is None or type(value) is int


def settings(data: bytes) -> None:
    """A settings file is settings, or a list of problems of one line each."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            one = load_settings(Path(file.name), {})
        except SettingsError as error:
            named(error)
            return
    assert isinstance(one, Settings)
    repr(one)


def named(error: SettingsError) -> None:
    """Every problem says which setting and what."""
    assert error.problems
    for problem in error.problems:
        assert problem.setting
        assert problem.message


def environment(data: bytes) -> None:
    """Variables, one a line, are settings, or a list of problems of one line each."""
    lines = data.decode("utf-8", "ignore").replace("\0", "").splitlines()
    environ = dict(line.split("=", 1) for line in lines if "=" in line)
    try:
        load_settings(None, environ)
    except SettingsError as error:
        named(error)


# ---------------------------------------------------------------- receivers


def reply(data: bytes) -> None:
    """What a webhook's receiver answers: the first byte is the status, 200 to 455; the rest is ``Retry-After``."""
    if not data:
        return
    try:
        _raise_for_status(200 + data[0], data[1:].decode("utf-8", "surrogateescape"))
    except Retry as again:
        after_ms = again.after_ms
    except (Reject, Disable):
        return
    else:
        return
    assert after_ms is None or 0 <= after_ms <= MAX_RETRY_AFTER_S * 1_000


def loaded(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def at_once(asked: Any) -> Any:
    """The outcome of a coroutine that waits for nothing, but for the parsing of what is large."""
    try:
        asked.send(None)
    except StopIteration as done:
        return done.value
    asked.close()
    raise AssertionError("it waits")


KNOWN = {
    RUN: RecordState(RUN, RUN_1, {"State": ("Running", KEY), "DaisyChainIteration": (1, KEY)}, KEY, (False, KEY), ("Running", KEY)),
    STEP: RecordState(STEP, STEP_1, {"State": ("Active", KEY)}, None, None, ("Active", KEY)),
}  # fmt: skip

TARGETS: Mapping[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        answer, event, row, rest, token, date, journal, state, target, task, cursor, channels, blocked_run, export, settings,
        environment, reply,
    )
}  # fmt: skip
"""Name to check."""
