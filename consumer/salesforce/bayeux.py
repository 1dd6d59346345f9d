"""One HTTP answer of a CometD server, read whole or refused whole.

A long-poll answer is a JSON array: data messages of the subscribed channels, and the reply to our ``/meta/connect``. The stock client
consumes such an array message by message, so that one malformed message in the middle loses what stands behind it while later answers
are committed. Here the array is taken apart completely before anybody sees an event: it parses, every element is an object with a
channel, every event has data, and there is exactly one reply to each message that was sent. Only then are there events.

What is wrong *between* well-formed messages - a failed reply, an unsolicited ``/meta/disconnect``, advice to shake hands again - does
not take the events away: they came whole, so they are handed over first, and the fault follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from consumer.clock import ms_of_date
from consumer.errors import EndReason, SessionFault
from consumer.salesforce.reasons import Stage, answer_reason, one_line, reply_reason

__all__ = ["BadBody", "Exchange", "date_ms", "read_answer"]

_META = "/meta/"


class BadBody(SessionFault):
    """The server answered 200 with something that is not a CometD answer.

    Attributes:
        body: the exact bytes, so that they can be kept as evidence.
    """

    def __init__(self, stage: Stage, why: str, body: bytes) -> None:
        self.body = body
        super().__init__(EndReason("bad_body", f"{stage}: {why} ({len(body)} bytes)"))


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one request brought.

    Attributes:
        replies: one for each message sent, in the order sent.
        events: data messages, in arrival order.
        body: the exact bytes.
        server_ms: Salesforce time (``Date`` header), milliseconds since the epoch; None when absent.
        received_ms: monotonic milliseconds when the body was complete.
        ends: why the session ends after these events although every reply was there; None when it goes on.
    """

    replies: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    body: bytes
    server_ms: int | None
    received_ms: int
    ends: EndReason | None


def read_answer(
    stage: Stage, sent: Sequence[Mapping[str, Any]], body: bytes, server_ms: int | None, received_ms: int
) -> Exchange:
    """Take an answer with status 200 apart.

    Args:
        stage: which request it answers.
        sent: the messages that were sent, each with ``channel`` and ``id``.
        body: as received.
        server_ms: Salesforce time of the answer.
        received_ms: monotonic milliseconds.

    Raises:
        BadBody: it is not whole.
    """
    try:
        messages = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(stage, f"the answer is not JSON: {one_line(str(error), 120)}", body) from error
    if not isinstance(messages, list):
        raise BadBody(stage, "the answer is not an array", body)
    events: list[Mapping[str, Any]] = []
    metas: list[Mapping[str, Any]] = []
    for message in messages:
        if not isinstance(message, dict):
            raise BadBody(stage, "the answer holds an element that is no object", body)
        channel = message.get("channel")
        if isinstance(channel, str) and channel.startswith("/") and not channel.startswith(_META):
            if "data" not in message:
                raise BadBody(stage, f"a message on {one_line(channel, 80)} has no data", body)
            events.append(message)
        elif isinstance(channel, str) and channel.startswith(_META):
            metas.append(message)
        elif channel is None and message.get("successful") is False:
            # Salesforce documents "403::Unknown client" in this short form; it can only answer what was sent.
            metas.append({**message, "channel": sent[0]["channel"]})
        else:
            raise BadBody(stage, "the answer holds a message without a channel", body)
    replies, ends = _match(stage, sent, metas, body)
    return Exchange(replies, events, body, server_ms, received_ms, ends)


def _match(
    stage: Stage, sent: Sequence[Mapping[str, Any]], metas: list[Mapping[str, Any]], body: bytes
) -> tuple[list[Mapping[str, Any]], EndReason | None]:
    replies: list[Mapping[str, Any]] = []
    for request in sent:
        found = [meta for meta in metas if _answers(meta, request)]
        if not found:
            # The id is optional, and refusals were seen with none or with another one: they are told by what they name.
            found = [meta for meta in metas if _may_answer(meta, request, alone=len(sent) == 1)]
        if len(found) != 1:
            how_many = "no reply" if not found else f"{len(found)} replies"
            raise BadBody(stage, f"the answer holds {how_many} to message {request['id']}", body)
        reply = found[0]
        if not isinstance(reply.get("successful"), bool):
            raise BadBody(
                stage, f"the reply to message {request['id']} does not say whether it was successful", body
            )
        metas = [meta for meta in metas if meta is not reply]
        replies.append(reply)
    for reply in replies:
        if reply["successful"] and (advised := answer_reason(stage, reply)) is not None:
            return replies, advised
    return replies, _unasked(stage, metas)


def _answers(meta: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    # Salesforce documents a reply with a numeric id to a textual one.
    number = meta.get("id")
    return (
        meta["channel"] == request["channel"]
        and isinstance(number, str | int)
        and str(number) == str(request["id"])
    )


def _may_answer(meta: Mapping[str, Any], request: Mapping[str, Any], *, alone: bool) -> bool:
    if meta["channel"] != request["channel"]:
        return False
    if meta.get("id") is not None and meta.get("successful") is not False:
        return False
    return alone or meta.get("subscription") == request.get("subscription")


def _unasked(stage: Stage, metas: Sequence[Mapping[str, Any]]) -> EndReason | None:
    """The first meta message that nobody asked for, as the end that it is."""
    for meta in metas:
        channel = str(meta["channel"])
        if channel == "/meta/disconnect":
            return EndReason("server_disconnect", f"{stage}: the server sent /meta/disconnect")
        if meta.get("successful") is False:
            return reply_reason(stage, meta)
        return EndReason(
            "unexpected_message", f"{stage}: the answer holds an unasked {one_line(channel, 60)}"
        )
    return None


def date_ms(header: str | None) -> int | None:
    """Milliseconds since the epoch of an HTTP ``Date``; None when it is absent or no date."""
    if header is None:
        return None
    try:
        return ms_of_date(header)
    except ValueError:
        return None
