"""Dead letters of ingest.

They are messages that could not be understood, with their exact bytes.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import orjson

from consumer.errors import BadEvent
from consumer.ports.commit import IngestDeadLetter
from consumer.ports.source import Answer

__all__ = ["raw_messages", "to_dead_letter"]

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)
"""Tokens that show where an element of an array ends: strings, so that nothing in them counts, brackets and commas."""


def to_dead_letter(
    answer: Answer, index: int, channel: str, position: str | None, error: BadEvent, at_ms: int
) -> IngestDeadLetter:
    """Make a dead letter of the message at ``index`` of an answer.

    The same message again yields the same id.
    """
    raw = _raw(answer, index)
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return IngestDeadLetter(
        f"{channel}/{position or '-'}/{digest}", channel, position, error.reason, error.detail, raw, at_ms
    )


def _raw(answer: Answer, index: int) -> bytes:
    spans = _data_messages(answer.body)
    if len(spans) == len(answer.messages):
        begin, end = spans[index]
        return answer.body[begin:end]
    try:
        return orjson.dumps(
            answer.messages[index]
        )  # the body is no array of messages, as with another transport
    except TypeError:
        return answer.body  # nested too deep to be written


@lru_cache(maxsize=1)
def _data_messages(body: bytes) -> tuple[tuple[int, int], ...]:
    """Spans of the data messages in a body.

    They are remembered, because a bad event seldom comes alone.
    """
    try:
        return tuple(span for span in _elements(body) if _is_data(body[slice(*span)]))
    except ValueError:
        return ()


def _is_data(piece: bytes) -> bool:
    message = orjson.loads(piece)
    channel = message.get("channel") if isinstance(message, dict) else None
    return isinstance(channel, str) and not channel.startswith("/meta/")


def raw_messages(body: bytes) -> list[bytes]:
    """Exact bytes of each element of a JSON array.

    Raises:
        ValueError: it is no JSON array.
    """
    return [body[begin:end] for begin, end in _elements(body)]


def _elements(body: bytes) -> list[tuple[int, int]]:
    # Without recursion: messages that are nested too deeply are among those that end as dead letters.
    if not isinstance(orjson.loads(body), list):
        raise ValueError("the body is no array")  # noqa: TRY004 - as what is no JSON
    spans: list[tuple[int, int]] = []
    depth = begin = 0
    for token in _TOKEN.finditer(body):
        mark = token.group()
        if mark in {b"[", b"{"}:
            depth += 1
            begin = token.end() if depth == 1 else begin
        elif (depth == 1 and mark == b",") or (mark in {b"]", b"}"} and (depth := depth - 1) == 0):
            spans.append((begin, token.start()))
            begin = token.end()
    return [span for span in (_stripped(body, *span) for span in spans) if span[0] < span[1]]


def _stripped(body: bytes, begin: int, end: int) -> tuple[int, int]:
    piece = body[begin:end]
    begin += len(piece) - len(piece.lstrip())
    return begin, begin + len(piece.strip())
