"""Salesforce record ids: 15 case-sensitive or 18 case-insensitive characters.

The three extra characters encode which of the first fifteen are upper case; change events and REST both send 18. People paste either form,
or a record's URL, so every id entered by a person is parsed by :func:`parse_record_id`.
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
    "canonical_id",
    "is_record_id",
    "is_wildcard",
    "parse_record_id",
    "to_18",
]

# Key prefixes: the first three characters of an id, which identify its object.
RUN_PREFIX = "0qB"
STEP_PREFIX = "8HF"
CADENCE_PREFIX = "77C"
USER_PREFIX = "005"
OPPORTUNITY_PREFIX = "006"
ORG_PREFIX = "00D"

EMPTY_ID = "000000000000000AAA"
"""Placeholder in ``recordIds`` of an overflow event, which names no record."""

_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ID = re.compile(r"(?<![A-Za-z0-9])([A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?)(?![A-Za-z0-9])")


def to_18(record_id: str) -> str:
    """Convert a 15- or 18-character id to its 18-character form.

    Raises:
        ValueError: the id has another length, or its checksum is wrong.
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
    """Find the id in pasted text and return its 18-character form.

    The text may be an id of 15 or 18 characters, or a record's URL.

    Raises:
        ValueError: the text contains no valid id.
    """
    for candidate in _ID.findall(text.strip()):
        try:
            return to_18(candidate)
        except ValueError:
            continue
    raise ValueError(
        f"{text!r} contains no Salesforce record id (15 or 18 letters and digits, or a record's URL)"
    )


def canonical_id(record_id: str) -> str:
    """Return the 18-character form of an id as Salesforce sends it.

    The checksum of 18 characters is not verified.

    Raises:
        ValueError: it is not a record id.
    """
    return record_id if is_record_id(record_id) else to_18(record_id)


def is_wildcard(record_id: str) -> bool:
    """Report whether the id is a wildcard for all records of an entity.

    Salesforce sends ``001*`` when a type conversion of a custom field loses data.
    """
    return record_id.endswith("*")


def is_record_id(text: str) -> bool:
    """Report whether the text has the form of an 18-character id."""
    return len(text) == 18 and text.isascii() and text.isalnum()
