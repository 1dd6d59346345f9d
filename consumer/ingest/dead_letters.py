"""Dead letters of ingest.

They are messages that could not be understood, with their exact bytes.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import orjson

from consumer.errors import BadEvent
from consumer.ports.commit import IngestDeadLetter
from consumer.ports.source import Answer
from consumer.safe_json import split_array

__all__ = ["raw_messages", "to_dead_letter"]


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
    spans = answer.spans if answer.spans is not None else _data_messages(answer.body)
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
        return tuple(span for span in split_array(body) if _is_data(body[slice(*span)]))
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
    return [body[begin:end] for begin, end in split_array(body)]
