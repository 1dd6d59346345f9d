"""Inputs of about a megabyte, which is what Salesforce sends at most in one event: what takes the square of its size shows at such sizes."""

import json
import resource
import time
from collections.abc import Mapping, Sequence

import orjson

from tests.fuzzing.seeds import SEEDS
from tests.fuzzing.targets import TARGETS
from tests.support.builders.changes import (
    RUN,
    RUN_1,
    RUN_CHANNEL,
    message,
)

__all__ = ["LARGE"]

MANY = 30_000
DEEP = 20_000


def _answer(*messages: object) -> bytes:
    reply = {"channel": "/meta/connect", "id": "7", "successful": True}
    return orjson.dumps([*messages, reply])


def _event(**fields: object) -> bytes:
    return orjson.dumps(message("UPDATE", RUN, RUN_1, fields, commit=1)["data"]["payload"])


def _deep(text: bytes) -> bytes:
    """The sample, with something nested deeply where its first value is."""
    begin, colon, end = text.partition(b":")
    return begin + colon + b"[" * DEEP + b"]" * DEEP + b"," + end


def _deep_in(text: bytes, deep: int) -> bytes:
    return text.replace(b'"DEEP"', b"[" * deep + b"]" * deep)


_ODD = {"channel": RUN_CHANNEL, "data": {"event": {"replayId": 1}}}
_REFUSED = {"channel": "/meta/connect", "id": "7", "successful": False}

_LARGE: Mapping[str, Sequence[bytes]] = {
    "answer": [
        _answer(*[_ODD] * (MANY // 4)),
        *(_deep_in(_answer({**_ODD, "x": "DEEP"}), deep) for deep in (240, 300, 900, 1_010)),
        _deep_in(orjson.dumps([{"channel": "/meta/connect", "id": "DEEP", "successful": True}]), 1_000),
        _answer(*[{"channel": "/meta/connect"}] * MANY),
        orjson.dumps([{**_REFUSED, "error": "400::the replayId " * MANY}]),
        orjson.dumps([{**_REFUSED, "error": "has established a session, but no " * MANY}]),
        orjson.dumps([{**_REFUSED, "error": "create_denied" * MANY}]),
        orjson.dumps([{**_REFUSED, "error": " limit  " * MANY + "limit" + " " * MANY}]),
    ],
    "event": [
        _event(**{f"F{number}__c": number for number in range(MANY)}),
        *(_deep_in(_event(**{name: "DEEP"}), deep) for name in ("A__c", "State", "DaisyChainIteration", "LastModifiedDate") for deep in (250, 1_000)),
        _event(Long__c="a" * 1_000_000),
        orjson.dumps(message("UPDATE", RUN, [RUN_1[:-3]] * MANY, {}, commit=1)["data"]["payload"]),
        orjson.dumps(message("UPDATE", RUN, RUN_1, {}, commit=1, changed=[f"F{number}" for number in range(MANY)])["data"]["payload"]),
    ],
    "row": [
        *(_deep_in(SEEDS["row"][0].replace(orjson.dumps(value), b'"DEEP"'), 1_000) for value in orjson.loads(SEEDS["row"][0]).values()),
        orjson.dumps({**orjson.loads(SEEDS["row"][0]), **{f"F{number}__c": number for number in range(MANY)}})],
    "rest": [
        *(_deep_in(orjson.dumps(one), 1_000) for one in ([{"errorCode": "DEEP"}], {"done": True, "records": [{"Id": "DEEP"}]})),
        orjson.dumps({"done": True, "records": [{"Id": RUN_1}] * MANY})],
    "token": [
        *(_deep_in(SEEDS["token"][0].replace(orjson.dumps(value), b'"DEEP"'), 1_000) for value in orjson.loads(SEEDS["token"][0]).values()),
        *(_deep_in(orjson.dumps({"error": "DEEP"}), 1_000), _deep_in(orjson.dumps({"error": "a", "error_description": "DEEP"}), 1_000)),
        orjson.dumps({**orjson.loads(SEEDS["token"][0]), "issued_at": "9" * 1_000_000})],
    "date": [b"9" * 100_000, b"Sat, " * 100_000, b"(" * 100_000, b"31 Jan 2026 " + b"1:" * 100_000],
    "reply": [bytes((229,)) + text for text in (b"9" * 100_000, b"(" * 100_000, b"1:" * 100_000)],
    "cursor": [orjson.dumps({"v": 2, "offset": 0, "settled": [[2 * at, 2 * at] for at in range(1, MANY)]})],
    "environment": [
        b"CADENCE_HANDLERS__A__SETTINGS" + b"__A" * MANY + b"=1",
        b"CADENCE_HANDLERS__A__ON=" + b"[" * DEEP,
        b"CADENCE_HANDLERS__A__SETTINGS=" + b'{"a":' * 900 + b"1" + b"}" * 900,
        b"\n".join(b"CADENCE_HANDLERS__A%d__USE=jsonl" % number for number in range(2_000)),
    ],
    "settings": [
        b"a = " + b"[" * DEEP, b"[a" + b".a" * 4_000 + b"]", b"a" + b".a" * 4_000 + b" = 1", b"a = " + b"9" * 100_000, b"a = " + b"{a=" * DEEP,
        b'[ordering]\nlateness = "' + b"9" * 100_000 + b'"', b'[ordering]\nlateness = "' + b"1s" * 100_000 + b'x"',
        b"[ordering]\nlateness = 1e308", b"[ordering]\nlateness = nan", b"[ordering]\nlateness = 0x" + b"f" * 10_000, b"[http]\nport = 0x" + b"f" * 10_000,
        b'[http]\ntoken_file = "\\u0000"', b'[store]\nurl = "' + b"redis://" * 10_000 + b'"',
        b"[handlers." + b"a" * 100_000 + b"]",
    ],
}  # fmt: skip


LARGE: Mapping[str, Sequence[bytes]] = {
    name: [*_LARGE.get(name, ()), *([_deep(samples[0])] if b":" in samples[0] else [samples[0] * 10_000])]
    for name, samples in SEEDS.items()
}


def main() -> None:
    """Tries each and prints what it took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for target, inputs in LARGE.items():
        for number, data in enumerate(inputs):
            began = time.process_time()
            TARGETS[target](data)
            took = time.process_time() - began
            grew = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(
                json.dumps(
                    {"target": target, "number": number, "seconds": round(took, 2), "grew_mb": grew // 1024}
                )
            )


if __name__ == "__main__":
    main()
