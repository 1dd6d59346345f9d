"""Ingest dead letters: a message that could not be understood, kept with the exact bytes it came as."""

from __future__ import annotations

import hashlib
import json

import orjson

from consumer.errors import BadEvent
from consumer.ports import Answer, IngestDeadLetter

__all__ = ["dead_letter", "raw_messages"]


def dead_letter(
    answer: Answer, index: int, channel: str, position: str | None, error: BadEvent, at_ms: int
) -> IngestDeadLetter:
    """The message at ``index`` of an answer as a dead letter; the same message again yields the same id."""
    raw = _raw(answer, index)
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return IngestDeadLetter(
        f"{channel}/{position or '-'}/{digest}", channel, position, error.reason, error.detail, raw, at_ms
    )


def _raw(answer: Answer, index: int) -> bytes:
    wanted = answer.messages[index]
    try:
        return next(piece for piece in raw_messages(answer.body) if orjson.loads(piece) == wanted)
    except (ValueError, IndexError, StopIteration):
        return orjson.dumps(wanted)  # the body is no array of messages, as with another transport


def raw_messages(body: bytes) -> list[bytes]:
    """The exact bytes of each element of a JSON array.

    Slow, and only called when an answer holds a bad event.

    Raises:
        ValueError: it is no JSON array.
    """
    text = body.decode()
    decoder = json.JSONDecoder()
    pieces: list[bytes] = []
    index = text.index("[") + 1
    while True:
        while text[index] in " \t\r\n,":
            index += 1
        if text[index] == "]":
            return pieces
        _, end = decoder.raw_decode(text, index)
        pieces.append(text[index:end].encode())
        index = end
