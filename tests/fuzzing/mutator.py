"""Makes other JSON of JSON: one place in it becomes something else, and what no longer parses is left to the fuzzer's own mutations.

Nearly all changes of single bytes make text that is no JSON any more, and a parser's refusal is where our own code begins.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import orjson

__all__ = ["mutated"]

VALUES = (
    None, True, False, 0, 1, -1, 2, 3.0, 0.5, 1e300, -1e300, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 253_402_300_800_000,
    "", " ", "\n", "0", "-1", "-2", "*", "\u0000", "\u0661", "\u2028", "a" * 300, "9" * 5_000, "000000000000000AAA", "0qBWP0000001AbC",
    "2026-01-31T09:30:00.000Z", "2026-01-31T09:30:00.000+0000", "2026-01-31", "2026-W05-6T09:30:00.000Z", "2026-01-31 09:30:00.000Z",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-31T09:30:00", "2026-01-31T24:00:00Z",
    "CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_OVERFLOW", "Running", "Paused", "Complete", "Error", "Processing", "Active",
    "ActionCadenceTracker", "ActionCadenceStepTracker", "/meta/connect", "/meta/disconnect", "/data/ChangeEvents", "handshake", "none",
    [], {}, [[]], {"": None}, [1, 2], [2, 1], [[3, 2]], [[1, 1], [1, 1]], ["a", "a"],
)  # fmt: skip
"""What has broken readers of JSON before."""


def mutated(data: bytes, seed: int, most: int, bytewise: Callable[[bytes, int], bytes]) -> bytes:
    """Another input: mostly JSON again, where ``data`` was; ``bytewise`` is the fuzzer's own way."""
    dice = random.Random(seed)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return bytewise(data, most)
    if dice.random() < 0.1:
        return bytewise(data, most)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        value = _changed(value, dice, bytewise)
    try:
        made = orjson.dumps(value)
    except (TypeError, RecursionError, orjson.JSONEncodeError):
        return bytewise(data, most)
    return made if len(made) <= most else bytewise(data, most)


def _changed(value: Any, dice: random.Random, bytewise: Callable[[bytes, int], bytes]) -> Any:
    places = list(_places(value))
    if not places:
        return _copy(dice.choice(VALUES))
    holder, key = dice.choice(places)
    old = holder[key]
    match dice.randrange(9):
        case 0 | 1:
            holder[key] = _copy(dice.choice(VALUES))
        case 2:
            del holder[key]
        case 3 if isinstance(old, str):
            holder[key] = bytewise(old.encode(), len(old) + 20).decode("utf-8", "ignore")
        case 3 if isinstance(old, int | float):
            holder[key] = dice.choice((old + 1, -old, old * 10, float(old), str(old)))
        case 4:
            other, its = dice.choice(places)
            holder[key] = _copy(other[its])
        case 5:
            holder[key] = dice.choice(([old], {"a": old}, [old, _copy(old)]))
        case 6 if isinstance(holder, dict):
            holder[dice.choice((*holder, "v", "id", "a", str(dice.randrange(10))))] = _copy(old)
        case 6:
            holder.insert(key, _copy(old))
        case 7 if isinstance(holder, dict):
            names = [name for one, name in places if isinstance(one, dict)]
            holder[dice.choice(names)] = _copy(dice.choice(VALUES))
        case 8:
            holder[key] = _nested(dice.choice((3, 60, 200)), old)
        case _:
            holder[key] = old
    return value


def _copy(value: Any) -> Any:
    """Of its own, so that nothing comes to hold itself; what is too deep to be copied is left away."""
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:
        return None


def _nested(deep: int, value: Any) -> Any:
    for _ in range(deep):
        value = [value]
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pending = [value]
    while pending:
        one = pending.pop()
        keys = one if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            yield one, key
            pending.append(one[key])
