"""Why Salesforce ended it: the error catalogue as a table, and a pure function from what was seen to an :class:`EndReason`.

Salesforce words failures in several places at once. A Bayeux reply carries ``error`` (``"403::Handshake denied"``) and, beside it,
``ext.sdfc.failureReason`` with the real cause; the two contradict each other when a server is too busy (``error`` then says
``401::Authentication invalid``), so the failure reason is read first and, where it exists, alone. A reply may have neither and only
``advice``. And a proxy, a login page or a load balancer answers with an HTTP status and HTML.

The table is read from top to bottom; the first row whose pattern occurs in the text decides. What no row knows becomes
``unknown_error`` with the text in the open, and is tried again: a new wording of Salesforce must not stop the service, nor hide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consumer.errors import EndReason, Remedy

__all__ = ["PERMISSION", "Stage", "answer_reason", "failure_text", "http_reason", "one_line", "reply_reason"]

PERMISSION = "permission_denied"
"""Code of the refusals that are about rights, which end the process with another exit code."""

_LONGEST_DETAIL = 300
_LONGEST_TEXT = 2_000
"""Of what Salesforce gives as a cause; some patterns take the square of its length."""


class Stage(StrEnum):
    """Which request of a session it was."""

    HANDSHAKE = "handshake"
    SUBSCRIBE = "subscribe"
    CONNECT = "connect"


@dataclass(frozen=True, slots=True)
class _Row:
    """Text of Salesforce, and what it means.

    Attributes:
        pattern: searched in the failure reason, else in the error.
        code: stable label.
        remedy: what follows.
        action: what a person must change; ``{channel}`` and ``{object}`` are filled in.
    """

    pattern: re.Pattern[str]
    code: str
    remedy: Remedy = Remedy.RETRY
    action: str = ""


def _row(pattern: str, code: str, remedy: Remedy = Remedy.RETRY, action: str = "") -> _Row:
    return _Row(re.compile(pattern, re.IGNORECASE), code, remedy, action)


_CATALOGUE = (
    # Load comes first: its texts travel beside 401 and 403 errors that mean something else.
    _row(r"^503\b|server is too busy", "server_busy"),
    _row(r"limit\s+the\s+number\s+of\s+simultaneous\s+connections", "too_many_connections"),
    _row(r"concurrent user limit exceeded", "too_many_subscribers"),
    _row(r"total events daily limit exceeded", "daily_limit", Remedy.WAIT_QUOTA),
    # Positions.
    _row(r"the replayId\b.*\binvalid", "replay_invalid", Remedy.RECONCILE),
    # What only a person can change.
    _row(
        r"channel you requested to subscribe to doesn't exist",
        "channel_missing",
        Remedy.STOP,
        "Change Data Capture is not enabled for {object}: select it in Setup > Change Data Capture, or add it to a "
        "custom channel and configure that channel's exact name (names distinguish case).",
    ),
    _row(
        r"without View All Data permission|restricted channel",
        PERMISSION,
        Remedy.STOP,
        "Give the integration user 'View All Records' on {object}, or 'View All Data', in a permission set.",
    ),
    _row(
        r"cannot create channel",
        PERMISSION,
        Remedy.STOP,
        "The integration user may not use {channel}: check the channel's name, and give the user 'View All Data'.",
    ),
    _row(
        r"API version in the URI is mandatory|unsupported API version",
        "api_version",
        Remedy.STOP,
        "Set the API version to one that Salesforce supports, such as 66.0.",
    ),
    _row(
        r"channel name not specified|channel subscriptions must start with a leading '/'",
        "channel_name",
        Remedy.STOP,
        "Write every channel with its full name, such as /data/ActionCadenceTrackerChangeEvent.",
    ),
    _row(
        r"invalid connection type",
        "connection_type",
        Remedy.STOP,
        "Salesforce no longer takes long polling at this API version: set an older one and report this.",
    ),
    # Sessions that Salesforce has lost; the next one is new in every respect.
    _row(r"has established a session, but no .*cookie present", "cookie_missing"),
    _row(r"authenticated user id does not match the session's user id", "session_user_mismatch"),
    _row(r"unknown client|session_unknown", "unknown_client"),
    _row(r"client has not completed handshake", "handshake_missing"),
    _row(r"maximum request size exceeded|^413\b", "request_too_large"),
    # Authentication.
    _row(
        r"INVALID_SESSION_ID|session expired or invalid|authentication invalid|requires authentication|^401\b",
        "authentication_invalid",
        Remedy.REAUTHENTICATE,
    ),
    _row(r"handshake.denied|create_denied.*handshake", "handshake_denied", Remedy.REAUTHENTICATE),
    # A policy of the server that names no cause; seen both for unknown channels and for passing trouble.
    _row(r"subscribe_denied|subscribe_failed|create_denied|channel_denied", "subscribe_denied"),
)

_STATUS = {
    401: ("http_401", Remedy.REAUTHENTICATE),
    # A revoked token, a login page or an IP restriction: a fresh token is the one thing that may help.
    403: ("http_403", Remedy.REAUTHENTICATE),
    404: ("http_404", Remedy.RETRY),
    413: ("request_too_large", Remedy.RETRY),
    429: ("http_429", Remedy.RETRY),
    500: ("http_500", Remedy.RETRY),
    502: ("http_502", Remedy.RETRY),
    503: ("server_busy", Remedy.RETRY),
    504: ("http_504", Remedy.RETRY),
}


def one_line(text: str, limit: int = _LONGEST_DETAIL) -> str:
    """``text`` without line breaks, cut to ``limit`` characters."""
    joined = " ".join(text.split())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def failure_text(message: Mapping[str, Any]) -> str | None:
    """What a failed reply gives as its cause: ``ext.sdfc.failureReason``, else ``error``; None when it names neither."""
    ext = message.get("ext")
    cause = ext.get("sfdc") if isinstance(ext, Mapping) else None
    reason = cause.get("failureReason") if isinstance(cause, Mapping) else None
    if isinstance(reason, str) and reason.strip():
        return reason[:_LONGEST_TEXT]
    error = message.get("error")
    return error[:_LONGEST_TEXT] if isinstance(error, str) and error.strip() else None


def reply_reason(
    stage: Stage,
    message: Mapping[str, Any],
    *,
    channel: str | None = None,
    position: str | None = None,
) -> EndReason:
    """Why a reply with ``successful: false`` ends the session.

    Args:
        stage: which request it answers.
        message: the Bayeux reply.
        channel: the channel that was to be subscribed.
        position: the replay option that was sent with it; named in the reason when it was refused.
    """
    text = failure_text(message)
    if text is None:
        return _by_advice(stage, message, channel)
    return _by_text(stage, text, channel, position)


def _by_text(stage: Stage, text: str, channel: str | None, position: str | None) -> EndReason:
    detail = f"{stage}: {one_line(text)}"
    for row in _CATALOGUE:
        if row.pattern.search(text) is None:
            continue
        remedy = row.remedy
        if remedy is Remedy.RECONCILE and (channel is None or position is None):
            # Nobody could say which position to give up.
            remedy = Remedy.RETRY
        return EndReason(
            row.code,
            detail,
            remedy,
            action=row.action.format(channel=channel or "the channel", object=_object_of(channel)),
            channel=channel,
            position=position if remedy is Remedy.RECONCILE else None,
        )
    return EndReason("unknown_error", detail, channel=channel)


def _by_advice(stage: Stage, message: Mapping[str, Any], channel: str | None) -> EndReason:
    advised = advised_reconnect(message)
    if advised == "handshake":
        return EndReason(
            "rehandshake_advised", f"{stage}: failed, with the advice to shake hands again", channel=channel
        )
    seen = f"the advice {one_line(advised, 40)!r}" if advised is not None else "no error and no advice"
    return EndReason("unknown_error", f"{stage}: failed, with {seen}", channel=channel)


def advised_reconnect(message: Mapping[str, Any]) -> str | None:
    """``advice.reconnect`` of a message, where there is one."""
    advice = message.get("advice")
    value = advice.get("reconnect") if isinstance(advice, Mapping) else None
    return value if isinstance(value, str) else None


def answer_reason(stage: Stage, message: Mapping[str, Any]) -> EndReason | None:
    """Why a reply that was successful ends the session all the same: its advice is not to go on; None when it is."""
    advised = advised_reconnect(message)
    if advised is None or advised == "retry":
        return None
    if advised == "handshake":
        return EndReason("rehandshake_advised", f"{stage}: the server advises to shake hands again")
    return EndReason(
        "reconnect_refused", f"{stage}: the server advises {one_line(advised, 40)!r} for reconnecting"
    )


def http_reason(stage: Stage, status: int, content_type: str, parsed: Any, excerpt: str) -> EndReason:
    """Why an HTTP status other than 200 ends the session.

    Salesforce sends its catalogue also with other statuses (an API version error comes as 400), and REST-style errors
    (``[{"errorCode": "INVALID_SESSION_ID"}]``); a known text decides before the status does.

    Args:
        stage: which request it answers.
        status: HTTP status.
        content_type: of the body, as received.
        parsed: the body as JSON; None when it is not.
        excerpt: the start of the body as text, free of secrets.
    """
    messages = parsed if isinstance(parsed, list) else [parsed]
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        text = failure_text(message) or _rest_error(message)
        if text is not None:
            reason = _by_text(stage, text, None, None)
            if reason.code != "unknown_error":
                return reason
    what = one_line(f"{content_type or 'no content type'}: {excerpt}" if excerpt else "empty body", 200)
    detail = f"{stage}: HTTP {status}, {what}"
    if status == 410:
        return EndReason(
            "api_version", detail, Remedy.STOP, "This API version is retired: set a newer one, such as 66.0."
        )
    if 300 <= status < 400:
        # The org has moved: a new token response names the new instance.
        return EndReason("http_redirect", detail, Remedy.REAUTHENTICATE)
    code, remedy = _STATUS.get(status, (f"http_{status // 100}xx", Remedy.RETRY))
    return EndReason(code, detail, remedy)


def _rest_error(message: Mapping[str, Any]) -> str | None:
    code = message.get("errorCode")
    return f"{code}: {message.get('message', '')}"[:_LONGEST_TEXT] if isinstance(code, str) else None


def _object_of(channel: str | None) -> str:
    """``ActionCadenceTracker`` for its single-entity channel, in words for the others."""
    if channel is None:
        return "the object"
    name = channel.rsplit("/", 1)[-1]
    if name.endswith("__ChangeEvent"):
        return name.removesuffix("ChangeEvent") + "c"
    if name.endswith("ChangeEvent"):
        return name.removesuffix("ChangeEvent")
    return f"the objects of {channel}"
