"""Parser of a CometD server's answer, which is accepted or refused as a whole.

A long-poll answer is a JSON array: data messages of the subscribed channels, and the reply to our ``/meta/connect``. The stock client
consumes such an array message by message, so that one malformed message in the middle loses those behind it while later answers are
committed. Here the array is validated completely before any event is used: it is JSON, and there is exactly one reply to each message
that was sent.

A message of a readable answer that cannot be used does not affect the others: an element that is not an object, has no channel or no data,
or is nested deeper than any parser follows, keeps its position among the events, with the reason, and is stored with its bytes.

A fault *between* well-formed messages - a failed reply, an unsolicited ``/meta/disconnect``, advice to handshake again - does not discard
the events: they arrived whole, so they are handed over first, and the fault follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from consumer.clock import parse_http_date_ms
from consumer.errors import BadEvent, EndReason, SessionFault
from consumer.safe_json import NestedTooDeep, NotJson, loads_lenient, prune, split_array
from consumer.salesforce.error_catalogue import (
    Stage,
    advice_reason,
    one_line,
    reply_reason,
)

__all__ = [
    "BadBody",
    "Elements",
    "Exchange",
    "http_date_ms",
    "parse_answer",
    "parse_elements",
    "read_elements",
]

_META = "/meta/"
_LATEST_DATE_MS: Final = 16_725_225_600_000
"""Year 2500: later dates leave no room for durations that are added to them."""
_NO_CHANNEL: Final = "-"
"""Channel of an element that has none."""
_PARSED_AT_ONCE: Final = 4 * 1024 * 1024
"""Maximum size in bytes of an answer that is parsed in one step; larger ones are split into elements first."""
_MAX_MESSAGE: Final = 4 * 1024 * 1024
"""Maximum size in bytes of a message; documented: an event has at most 1 MB, which escapes can triple."""
_KEPT: Final = 4 * 1024 * 1024
"""Maximum number of bytes of an unreadable answer that are stored."""


class BadBody(SessionFault):
    """Answer with status 200 that is not a CometD answer.

    Attributes:
        body: the exact bytes, to be stored as evidence; the beginning of a very large answer.
    """

    def __init__(self, stage: Stage, problem: str, body: bytes, code: str = "bad_body") -> None:
        self.body = body[:_KEPT]
        size = f" ({len(body)} bytes)" if code == "bad_body" else ""
        super().__init__(EndReason(code, f"{stage}: {problem}{size}"))


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
        unusable: reasons why events cannot be used, by index of the event.
        repaired: fields of events whose value was changed to make it usable, by index of the event.
        spans: location of each event in the body; None when every element on a channel is an event.
    """

    replies: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    body: bytes
    server_ms: int | None
    received_ms: int
    end_reason: EndReason | None
    unusable: Mapping[int, BadEvent] = field(default_factory=dict)
    repaired: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    spans: Sequence[tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements of an answer's array.

    Attributes:
        values: parsed elements; of one that cannot be parsed, channel and position as far as they are known.
        unusable: reasons why elements cannot be used, by index of the element.
        repaired: fields of elements whose value was changed, by index of the element.
        spans: location of each element in the body; None when it was not determined.
    """

    values: list[Any]
    unusable: Mapping[int, BadEvent] = field(default_factory=dict)
    repaired: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    spans: Sequence[tuple[int, int]] | None = None


def parse_elements(body: bytes) -> Elements | None:
    """Parse an ordinary answer quickly; None when :func:`read_elements` has to."""
    if len(body) > _PARSED_AT_ONCE:
        return None
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return Elements(values) if isinstance(values, list) else None


def read_elements(stage: Stage, body: bytes) -> Elements:
    """Parse any answer element by element; slow, to be called in a thread.

    Raises:
        BadBody: the answer is not a JSON array.
    """
    values: list[Any] = []
    unusable: dict[int, BadEvent] = {}
    repaired: dict[int, tuple[str, ...]] = {}
    try:
        spans = split_array(body)
        for index, (begin, end) in enumerate(spans):
            try:
                value, fields = _read_element(body[begin:end])
            except BadEvent as error:
                unusable[index] = error
                value, fields = _outline(body[begin:end]), ()
            values.append(value)
            if fields:
                repaired[index] = fields
    except NotJson as error:
        raise BadBody(stage, f"the answer is not JSON: {one_line(str(error), 120)}", body) from error
    return Elements(values, unusable, repaired, spans)


def _read_element(element: bytes) -> tuple[Any, tuple[str, ...]]:
    """Parse one element, and name the fields that had to be changed."""
    if len(element) > _MAX_MESSAGE:
        raise BadEvent("too_large", f"the message has {len(element)} bytes, more than {_MAX_MESSAGE}")
    try:
        return orjson.loads(element), ()
    except orjson.JSONDecodeError:
        try:
            lenient = loads_lenient(element)
        except NestedTooDeep as error:
            raise BadEvent("too_deep", str(error)) from error
        return lenient.value, lenient.fields


def _outline(element: bytes) -> Any:
    """Extract channel, reply fields and position of a message.

    The message cannot be parsed as it is.
    """
    value = loads_lenient(prune(element)).value
    if not isinstance(value, dict):
        return None
    data = value.get("data")
    event = data.get("event") if isinstance(data, dict) else None
    outline = {name: member for name, member in value.items() if name not in ("data", "ext")}
    return {**outline, "data": {"event": event}}


def parse_answer(
    stage: Stage,
    requests: Sequence[Mapping[str, Any]],
    body: bytes,
    server_ms: int | None,
    received_ms: int,
    elements: Elements | None = None,
) -> Exchange:
    """Parse and validate an answer with status 200.

    Args:
        stage: kind of the request.
        requests: the messages that were sent, each with ``channel`` and ``id``.
        body: the body as received.
        server_ms: Salesforce time of the answer in milliseconds.
        received_ms: monotonic milliseconds at which the body was complete.
        elements: elements of the body, where they have been parsed.

    Raises:
        BadBody: the answer is incomplete or malformed.
    """
    if elements is None:
        elements = parse_elements(body) or read_elements(stage, body)
    events: list[Mapping[str, Any]] = []
    meta_messages: list[Mapping[str, Any]] = []
    unusable: dict[int, BadEvent] = {}
    for message in elements.values:
        channel = message.get("channel") if isinstance(message, dict) else None
        if isinstance(channel, str) and channel.startswith("/") and not channel.startswith(_META):
            if "data" not in message:
                unusable[len(events)] = BadEvent("no_data", "the message has no data")
            events.append(message)
        elif isinstance(channel, str) and channel.startswith(_META):
            meta_messages.append(message)
        elif isinstance(message, dict) and channel is None and message.get("successful") is False:
            # Salesforce documents "403::Unknown client" in this short form; it can only be the reply to the sent message.
            meta_messages.append({**message, "channel": requests[0]["channel"]})
        else:
            unusable[len(events)] = BadEvent("no_channel", "the element is not a message on a channel")
            data = message.get("data") if isinstance(message, dict) else None
            events.append({"channel": _NO_CHANNEL, "data": data})
    replies, end_reason = _match_replies(stage, requests, meta_messages, body)
    exchange = Exchange(replies, events, body, server_ms, received_ms, end_reason, unusable)
    if unusable or elements.spans is not None:
        return _with_locations(exchange, elements)
    return exchange


def _with_locations(exchange: Exchange, elements: Elements) -> Exchange:
    """Add what is known of elements to the events that they are."""
    spans = elements.spans if elements.spans is not None else split_array(exchange.body)
    indices = [index for index, value in enumerate(elements.values) if not _is_meta(value)]
    of_elements = {event: elements.unusable.get(index) for event, index in enumerate(indices)}
    return replace(
        exchange,
        unusable={
            **exchange.unusable,
            **{event: error for event, error in of_elements.items() if error is not None},
        },
        repaired={
            event: elements.repaired[index]
            for event, index in enumerate(indices)
            if index in elements.repaired
        },
        spans=[spans[index] for index in indices],
    )


def _is_meta(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    channel = message.get("channel")
    if channel is None:
        return message.get("successful") is False
    return isinstance(channel, str) and channel.startswith(_META)


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
    """Convert an HTTP ``Date`` to milliseconds since the epoch.

    None if it is absent, malformed or out of range.
    """
    if header is None:
        return None
    try:
        at_ms = parse_http_date_ms(header)
    except ValueError:
        return None
    return at_ms if 0 <= at_ms < _LATEST_DATE_MS else None
