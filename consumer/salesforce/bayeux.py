"""Parser of a CometD server's answer, which is accepted or refused as a whole.

A long-poll answer is a JSON array: data messages of the subscribed channels, and the reply to our ``/meta/connect``. The stock client
consumes such an array message by message, so that one malformed message in the middle loses those behind it while later answers are
committed. Here the array is validated completely before any event is used: it parses, every element is an object with a channel, every
event has data, and there is exactly one reply to each message that was sent.

A fault *between* well-formed messages - a failed reply, an unsolicited ``/meta/disconnect``, advice to handshake again - does not discard
the events: they arrived whole, so they are handed over first, and the fault follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from consumer.clock import parse_http_date_ms
from consumer.errors import EndReason, SessionFault
from consumer.salesforce.error_catalogue import (
    Stage,
    advice_reason,
    one_line,
    reply_reason,
)

__all__ = ["BadBody", "Exchange", "http_date_ms", "parse_answer"]

_META = "/meta/"


class BadBody(SessionFault):
    """Answer with status 200 that is not a CometD answer.

    Attributes:
        body: the exact bytes, to be stored as evidence.
    """

    def __init__(self, stage: Stage, problem: str, body: bytes) -> None:
        self.body = body
        super().__init__(EndReason("bad_body", f"{stage}: {problem} ({len(body)} bytes)"))


@dataclass(frozen=True, slots=True)
class Exchange:
    """Parsed answer to one request.

    Attributes:
        replies: one per message sent, in the order sent.
        events: data messages, in arrival order.
        body: the exact bytes.
        server_ms: Salesforce time (``Date`` header), milliseconds since the epoch; None when absent.
        received_ms: monotonic milliseconds at which the body was complete.
        end_reason: reason why the session ends after these events although every reply is present; None when it continues.
    """

    replies: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    body: bytes
    server_ms: int | None
    received_ms: int
    end_reason: EndReason | None


def parse_answer(
    stage: Stage, requests: Sequence[Mapping[str, Any]], body: bytes, server_ms: int | None, received_ms: int
) -> Exchange:
    """Parse and validate an answer with status 200.

    Args:
        stage: kind of the request.
        requests: the messages that were sent, each with ``channel`` and ``id``.
        body: the body as received.
        server_ms: Salesforce time of the answer in milliseconds.
        received_ms: monotonic milliseconds at which the body was complete.

    Raises:
        BadBody: the answer is incomplete or malformed.
    """
    try:
        messages = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(stage, f"the answer is not JSON: {one_line(str(error), 120)}", body) from error
    if not isinstance(messages, list):
        raise BadBody(stage, "the answer is not an array", body)
    events: list[Mapping[str, Any]] = []
    meta_messages: list[Mapping[str, Any]] = []
    for message in messages:
        if not isinstance(message, dict):
            raise BadBody(stage, "the answer contains an element that is not an object", body)
        channel = message.get("channel")
        if isinstance(channel, str) and channel.startswith("/") and not channel.startswith(_META):
            if "data" not in message:
                raise BadBody(stage, f"a message on {one_line(channel, 80)} has no data", body)
            events.append(message)
        elif isinstance(channel, str) and channel.startswith(_META):
            meta_messages.append(message)
        elif channel is None and message.get("successful") is False:
            # Salesforce documents "403::Unknown client" in this short form; it can only be the reply to the sent message.
            meta_messages.append({**message, "channel": requests[0]["channel"]})
        else:
            raise BadBody(stage, "the answer contains a message without a channel", body)
    replies, end_reason = _match_replies(stage, requests, meta_messages, body)
    return Exchange(replies, events, body, server_ms, received_ms, end_reason)


def _match_replies(
    stage: Stage, requests: Sequence[Mapping[str, Any]], meta_messages: list[Mapping[str, Any]], body: bytes
) -> tuple[list[Mapping[str, Any]], EndReason | None]:
    replies: list[Mapping[str, Any]] = []
    for request in requests:
        candidates = [message for message in meta_messages if _is_reply_to(message, request)]
        if not candidates:
            # The id is optional, and refusals were observed with none or with another: they are matched by channel and subscription.
            candidates = [
                message
                for message in meta_messages
                if _may_be_reply_to(message, request, is_only_request=len(requests) == 1)
            ]
        if len(candidates) != 1:
            reply_count = "no reply" if not candidates else f"{len(candidates)} replies"
            raise BadBody(stage, f"the answer contains {reply_count} to message {request['id']}", body)
        reply = candidates[0]
        if not isinstance(reply.get("successful"), bool):
            raise BadBody(
                stage, f"the reply to message {request['id']} does not state whether it was successful", body
            )
        meta_messages = [message for message in meta_messages if message is not reply]
        replies.append(reply)
    for reply in replies:
        if reply["successful"] and (advised_end := advice_reason(stage, reply)) is not None:
            return replies, advised_end
    return replies, _unsolicited_end(stage, meta_messages)


def _is_reply_to(message: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    # Salesforce documents a reply whose id is a number, to a message whose id is text.
    message_id = message.get("id")
    return (
        message["channel"] == request["channel"]
        and isinstance(message_id, str | int)
        and str(message_id) == str(request["id"])
    )


def _may_be_reply_to(
    message: Mapping[str, Any], request: Mapping[str, Any], *, is_only_request: bool
) -> bool:
    if message["channel"] != request["channel"]:
        return False
    if message.get("id") is not None and message.get("successful") is not False:
        return False
    return is_only_request or message.get("subscription") == request.get("subscription")


def _unsolicited_end(stage: Stage, meta_messages: Sequence[Mapping[str, Any]]) -> EndReason | None:
    """Convert the first unsolicited meta message, if any, to the end of the session."""
    for message in meta_messages:
        channel = str(message["channel"])
        if channel == "/meta/disconnect":
            return EndReason("server_disconnect", f"{stage}: the server sent /meta/disconnect")
        if message.get("successful") is False:
            return reply_reason(stage, message)
        return EndReason(
            "unexpected_message", f"{stage}: the answer contains an unsolicited {one_line(channel, 60)}"
        )
    return None


def http_date_ms(header: str | None) -> int | None:
    """Convert an HTTP ``Date`` to epoch milliseconds; None if absent or invalid."""
    if header is None:
        return None
    try:
        return parse_http_date_ms(header)
    except ValueError:
        return None
