"""Every input that ever broke a promise, with what was wrong."""

from dataclasses import dataclass

import orjson

from tests.fuzzing.seeds import SEEDS

__all__ = ["FOUND", "Found"]


@dataclass(frozen=True)
class Found:
    """An input that broke a promise.

    Attributes:
        target: which.
        why: what happened then.
        data: the input.
    """

    target: str
    why: str
    data: bytes


def _with(target: str, **fields: object) -> bytes:
    """The first sample, changed."""
    return orjson.dumps({**orjson.loads(SEEDS[target][0]), **fields})


FOUND = (
    Found("event", "a number that handlers cannot read was taken", _with("event", DaisyChainIteration=-1e300)),
    Found("event", "a date that handlers cannot read was taken", _with("event", ScheduledResumeDateTime="2026-W05-6T09:30:00.000Z")),
    Found("event", "a name that handlers cannot read was taken, of a field that runs do not have", _with("event", ActionCadenceName=[1])),
    Found("row", "no stamp: KeyError", b'{"Id":"Complete"}'),
    Found("row", "no id: KeyError", b'{"SystemModstamp":"2026-01-31T09:30:00.000+0000"}'),
    Found("row", "a stamp that is none: ValueError", b'{"Id":"8HFWP0000001AbD4AU","SystemModstamp":"none"}'),
    Found("row", "a date that handlers cannot read was taken", _with("row", ScheduledResumeDateTime="2026-W05-6T09:30:00.000Z")),
    Found("rest", "no records: KeyError", b"{}"),
    Found("rest", "a list for a page: TypeError", b"[]"),
    Found("rest", "a row that is a number was passed on", b'{"done":true,"records":[2]}'),
    Found("rest", "a text for records was passed on", b'{"done":true,"records":""}'),
    Found("rest", "neither done nor more: KeyError", b'{"records":[]}'),
    Found("rest", "more rows than ids: ValueError", b'{"done":2,"records":"*","v":"*"}'),
    Found("date", "a zone beyond any number: OverflowError", b"31 Jan 26 9:30+9999999999999"),
    Found("reply", "a zone beyond any number: OverflowError", b"\xe531 Jan 26 9:30+9999999999999"),
    Found("journal", "a time that is no text: TypeError", _with("journal", time=0)),
    Found("journal", "changed that is no list: TypeError", _with("journal", changed=False)),
    Found("journal", "an entity that is a list: TypeError", _with("journal", entity=[])),
    Found("journal", "a version that is a text: TypeError", b'{"v":"none"}'),
    Found("state", "nothing: JSONDecodeError", b""),
    Found("state", "no object: TypeError", b"2"),
    Found("state", "no version: KeyError", b"{}"),
    Found("state", "fields that are a text: AttributeError", _with("state", f="Paused")),
    Found("state", "a key of two numbers: IndexError", _with("state", i=[0, 7])),
    Found("target", "a run that is a letter: ValueError", b'{"v":1,"id":1,"runs":"*"}'),
    Found("target", "a newer version without an id: KeyError", b'{"v":2}'),
    Found("task", "a version that is nothing: TypeError", _with("task", v=None)),
    Found("task", "no entity: TypeError", b'{"v":2,"ids":[],"after":null}'),
    Found("task", "a place that is a text: IndexError", _with("task", after="x")),
    Found("cursor", "ranges that overlap were taken", b'{"v":2,"offset":41,"settled":[[43,60],[2,62]]}'),
    Found("cursor", "an offset that could not be written again was taken", b'{"v":2,"offset":1e+300,"settled":[]}'),
    Found("channels", "a state that is a number: TypeError", b'{"":3}'),
    Found("channels", "a number that is a text was taken", b'{"/data/ChangeEvents":{"birth_ms":1,"commit_number":"*"}}'),
    Found("channels", "a birth that is nothing was taken", b'{"/data/ChangeEvents":{"birth_ms":null}}'),
    Found("blocked_run", "no settled entries: KeyError", b"{}"),
    Found("blocked_run", "a number that could not be written again was taken", b'{"tracker_id":"","first":-9223372036854775809}'),
    Found("task", "a number that could not be written again was taken", _with("task", fetched="?").replace(b'"?"', b"9" * 20)),
    Found("export", "an org that is a number was taken", b'{"format":1,"org_id":2,"channels":{}}'),
    Found("export", "a position that is a number was taken",
          b'{"format":1,"org_id":null,"channels":{"/data/ChangeEvents":{"birth_ms":1,"position":3.0}}}'),
    Found("export", "a format of two lines was told as it was", b'{"format":"\\n"}'),
    Found("environment", "a variable below another one's value: AttributeError",
          b"CADENCE_HANDLERS__A__SETTINGS__X=1\nCADENCE_HANDLERS__A__SETTINGS__X__Y=2"),
)  # fmt: skip
