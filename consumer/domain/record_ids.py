"""Salesforce record ids: 15 characters that distinguish case, or 18 that need not.

The three extra characters are a checksum over which of the fifteen are upper case; change events and REST both send 18. People paste
either, or a record's URL, so everything that takes an id from a person goes through :func:`parse_record_id`.
"""

from __future__ import annotations

import re

__all__ = [
    "CADENCE_PREFIX",
    "EMPTY_ID",
    "OPPORTUNITY_PREFIX",
    "ORG_PREFIX",
    "RUN_PREFIX",
    "STEP_PREFIX",
    "USER_PREFIX",
    "is_record_id",
    "is_wildcard",
    "parse_record_id",
    "to_18",
]

# Key prefixes: the first three characters, which are of one object.
RUN_PREFIX = "0qB"
STEP_PREFIX = "8HF"
CADENCE_PREFIX = "77C"
USER_PREFIX = "005"
OPPORTUNITY_PREFIX = "006"
ORG_PREFIX = "00D"

EMPTY_ID = "000000000000000AAA"
"""Stands in ``recordIds`` of an overflow event, which concerns no single record."""

_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ID = re.compile(r"(?<![A-Za-z0-9])([A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?)(?![A-Za-z0-9])")


def to_18(record_id: str) -> str:
    """The 18-character form of a 15- or 18-character id.

    Raises:
        ValueError: it has another length, or the checksum is wrong.
    """
    if not re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", record_id):
        raise ValueError(f"{record_id!r} is not a Salesforce record id (15 or 18 letters and digits)")
    core = record_id[:15]
    checksum = "".join(
        _CHECKSUM[sum(1 << bit for bit, char in enumerate(core[start : start + 5]) if char.isupper())]
        for start in (0, 5, 10)
    )
    if len(record_id) == 18 and record_id[15:].upper() != checksum:
        raise ValueError(
            f"{record_id!r} is not a Salesforce record id: its last three characters should be {checksum}"
        )
    return core + checksum


def parse_record_id(text: str) -> str:
    """The 18-character id in what somebody pasted: 15 or 18 characters, or a record's URL.

    Raises:
        ValueError: there is none in it.
    """
    for candidate in _ID.findall(text.strip()):
        try:
            return to_18(candidate)
        except ValueError:
            continue
    raise ValueError(
        f"{text!r} holds no Salesforce record id (15 or 18 letters and digits, or a record's URL)"
    )


def is_wildcard(record_id: str) -> bool:
    """Whether it stands for all records of an entity (``001*``: type conversion of a custom field with data loss)."""
    return record_id.endswith("*")


def is_record_id(text: str) -> bool:
    """Whether it has the form of an 18-character id."""
    return len(text) == 18 and text.isascii() and text.isalnum()
