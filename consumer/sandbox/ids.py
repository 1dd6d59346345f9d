"""Record ids in Salesforce's format.

A record id is a three-character key prefix that names the object, two characters of the instance and a base-62
counter: fifteen case-sensitive characters. The eighteen-character form in change events and REST appends three
checksum characters, each of which encodes the case of five characters, so that the id survives systems that fold
case. Consumers may verify the checksum, so every id of the sandbox has a correct one.
"""

from __future__ import annotations

from typing import Final

KEY_PREFIXES: Final = {
    "ActionCadenceTracker": "0qB",
    "ActionCadenceStepTracker": "8HF",
    "ActionCadence": "77C",
    "ActionCadenceStep": "8HE",
    "ActionCadenceRule": "8HC",
    "Lead": "00Q",
    "Contact": "003",
    "Opportunity": "006",
    "User": "005",
    "EmailTemplate": "00X",
    "Organization": "00D",
    "QueryLocator": "01g",
}

# Replaces the record ids in an overflow event.
EMPTY_ID: Final = "000000000000000AAA"

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def checksum(id15: str) -> str:
    """Compute the three characters that extend a fifteen-character id to eighteen."""
    return "".join(
        _CHECKSUM[sum(1 << bit for bit, char in enumerate(id15[start : start + 5]) if char.isupper())]
        for start in (0, 5, 10)
    )


def to_18(record_id: str) -> str | None:
    """Convert an id to eighteen characters; None if malformed or of wrong checksum."""
    if not (record_id.isascii() and record_id.isalnum()):
        return None
    if len(record_id) == 15:
        return record_id + checksum(record_id)
    if len(record_id) == 18 and checksum(record_id[:15]) == record_id[15:].upper():
        return record_id[:15] + record_id[15:].upper()
    return None


class IdFactory:
    """Issue ids per object, counting from `first` in base 62, on instance `instance`."""

    def __init__(self, *, instance: str = "WP", first: int = 250_000) -> None:
        self._instance = instance
        self._first = first
        self._issued: dict[str, int] = {}

    def next(self, entity: str) -> str:
        """Issue an eighteen-character id of `entity`.

        Raises KeyError for an object without a key prefix.
        """
        number = self._issued.get(entity, self._first)
        self._issued[entity] = number + 1
        digits = ""
        for _ in range(10):
            number, digit = divmod(number, 62)
            digits = _BASE62[digit] + digits
        id15 = KEY_PREFIXES[entity] + self._instance + digits
        return id15 + checksum(id15)
