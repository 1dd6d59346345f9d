"""Error catalogue of Salesforce, and its mapping to :class:`EndReason`.

Salesforce describes failures in several places at once. A Bayeux reply carries ``error`` (``"403::Handshake denied"``) and, beside it,
``ext.sfdc.failureReason`` with the real cause; the two contradict each other when a server is too busy (``error`` is then
``401::Authentication invalid``), so the failure reason is read first and, where it exists, alone. A reply may have neither and only
``advice``. And a proxy, a login page or a load balancer answers with an HTTP status and HTML.

The table is read from top to bottom; the first row whose pattern occurs in the text decides. A text that matches no row becomes
``unknown_error`` with the text in its detail, and the session is retried: new wording by Salesforce must neither stop the service nor go
unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consumer.errors import EndReason, Remedy

__all__ = ["PERMISSION", "Stage", "advice_reason", "failure_text", "http_reason", "one_line", "reply_reason"]

PERMISSION = "permission_denied"
"""Code of refused permissions, which end the process with another exit code."""

_MAX_DETAIL_LENGTH = 300
_MAX_TEXT_LENGTH = 2_000
"""Maximum length of a text to match; some patterns take time quadratic in it."""


class Stage(StrEnum):
    """Kind of request in a session."""

    HANDSHAKE = "handshake"
    SUBSCRIBE = "subscribe"
    CONNECT = "connect"


@dataclass(frozen=True, slots=True)
class _CatalogueEntry:
    """Error text of Salesforce, and its meaning.

    Attributes:
        pattern: searched in the failure reason, else in the error.
        code: stable label.
        remedy: reaction to the error.
        action: the change that a person must make; ``{channel}`` and ``{object}`` are filled in.
    """

    pattern: re.Pattern[str]
    code: str
    remedy: Remedy = Remedy.RETRY
    action: str = ""


def _entry(pattern: str, code: str, remedy: Remedy = Remedy.RETRY, action: str = "") -> _CatalogueEntry:
    return _CatalogueEntry(re.compile(pattern, re.IGNORECASE), code, remedy, action)


_CATALOGUE = (
    # Overload is matched first: its texts accompany 401 and 403 errors that mean something else.
    _entry(r"^503\b|server is too busy", "server_busy"),
    _entry(r"limit\s+the\s+number\s+of\s+simultaneous\s+connections", "too_many_connections"),
    _entry(r"concurrent user limit exceeded", "too_many_subscribers"),
    _entry(r"total events daily limit exceeded", "daily_limit", Remedy.WAIT_QUOTA),
    # Positions.
    _entry(r"the replayId\b.*\binvalid", "replay_invalid", Remedy.RECONCILE),
    # Problems that only a person can solve.
    _entry(
        r"channel you requested to subscribe to doesn't exist",
        "channel_missing",
        Remedy.STOP,
        "Change Data Capture is not enabled for {object}: select it in Setup > Change Data Capture, or add it to a "
        "custom channel and configure that channel's exact name (names are case-sensitive).",
    ),
    _entry(
        r"without View All Data permission|restricted channel",
        PERMISSION,
        Remedy.STOP,
        "Give the integration user 'View All Records' on {object}, or 'View All Data', in a permission set.",
    ),
    _entry(
        r"cannot create channel",
        PERMISSION,
        Remedy.STOP,
        "The integration user may not use {channel}: check the channel's name, and give the user 'View All Data'.",
    ),
    _entry(
        r"API version in the URI is mandatory|unsupported API version",
        "api_version",
        Remedy.STOP,
        "Set the API version to one that Salesforce supports, such as 66.0.",
    ),
    _entry(
        r"channel name not specified|channel subscriptions must start with a leading '/'",
        "channel_name",
        Remedy.STOP,
        "Write every channel with its full name, such as /data/ActionCadenceTrackerChangeEvent.",
    ),
    _entry(
        r"invalid connection type",
        "connection_type",
        Remedy.STOP,
        "Salesforce no longer accepts long polling at this API version: set an older one and report this.",
    ),
    # Sessions that Salesforce has lost; the next session is new in every respect.
    _entry(r"has established a session, but no .*cookie present", "cookie_missing"),
    _entry(r"authenticated user id does not match the session's user id", "session_user_mismatch"),
    _entry(r"unknown client|session_unknown", "unknown_client"),
    _entry(r"client has not completed handshake", "handshake_missing"),
    _entry(r"maximum request size exceeded|^413\b", "request_too_large"),
    # Authentication.
    _entry(
        r"INVALID_SESSION_ID|session expired or invalid|authentication invalid|requires authentication|^401\b",
        "authentication_invalid",
        Remedy.REAUTHENTICATE,
    ),
    _entry(r"handshake.denied|create_denied.*handshake", "handshake_denied", Remedy.REAUTHENTICATE),
    # A server policy that names no cause; observed both for unknown channels and for transient problems.
    _entry(r"subscribe_denied|subscribe_failed|create_denied|channel_denied", "subscribe_denied"),
)

_REASON_BY_STATUS = {
    401: ("http_401", Remedy.REAUTHENTICATE),
    # A revoked token, a login page or an IP restriction: only a new token may help.
    403: ("http_403", Remedy.REAUTHENTICATE),
    404: ("http_404", Remedy.RETRY),
    413: ("request_too_large", Remedy.RETRY),
    429: ("http_429", Remedy.RETRY),
    500: ("http_500", Remedy.RETRY),
    502: ("http_502", Remedy.RETRY),
    503: ("server_busy", Remedy.RETRY),
    504: ("http_504", Remedy.RETRY),
}


def one_line(text: str, limit: int = _MAX_DETAIL_LENGTH) -> str:
    """Join ``text`` into one line, cut to ``limit`` characters."""
    joined = " ".join(text.split())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def failure_text(message: Mapping[str, Any]) -> str | None:
    """Read the cause in a failed reply: ``ext.sfdc.failureReason``, else ``error``.

    None when the reply has neither.
    """
    ext = message.get("ext")
    sdfc = ext.get("sfdc") if isinstance(ext, Mapping) else None
    reason = sdfc.get("failureReason") if isinstance(sdfc, Mapping) else None
    if isinstance(reason, str) and reason.strip():
        return reason[:_MAX_TEXT_LENGTH]
    error = message.get("error")
    return error[:_MAX_TEXT_LENGTH] if isinstance(error, str) and error.strip() else None


def reply_reason(
    stage: Stage,
    message: Mapping[str, Any],
    *,
    channel: str | None = None,
    position: str | None = None,
) -> EndReason:
    """Derive the end of the session from a reply with ``successful: false``.

    Args:
        stage: kind of the request.
        message: the Bayeux reply.
        channel: the channel that was to be subscribed.
        position: the replay option that was sent with it; part of the reason when it was refused.
    """
    text = failure_text(message)
    if text is None:
        return _reason_from_advice(stage, message, channel)
    return _reason_from_text(stage, text, channel, position)


def _reason_from_text(stage: Stage, text: str, channel: str | None, position: str | None) -> EndReason:
    detail = f"{stage}: {one_line(text)}"
    for entry in _CATALOGUE:
        if entry.pattern.search(text) is None:
            continue
        remedy = entry.remedy
        if remedy is Remedy.RECONCILE and (channel is None or position is None):
            # The position to give up is unknown.
            remedy = Remedy.RETRY
        return EndReason(
            entry.code,
            detail,
            remedy,
            action=entry.action.format(channel=channel or "the channel", object=_object_name(channel)),
            channel=channel,
            position=position if remedy is Remedy.RECONCILE else None,
        )
    return EndReason("unknown_error", detail, channel=channel)


def _reason_from_advice(stage: Stage, message: Mapping[str, Any], channel: str | None) -> EndReason:
    advice = advised_reconnect(message)
    if advice == "handshake":
        return EndReason(
            "rehandshake_advised", f"{stage}: failed, with the advice to handshake again", channel=channel
        )
    advice_text = f"the advice {one_line(advice, 40)!r}" if advice is not None else "no error and no advice"
    return EndReason("unknown_error", f"{stage}: failed, with {advice_text}", channel=channel)


def advised_reconnect(message: Mapping[str, Any]) -> str | None:
    """Read ``advice.reconnect`` of a message; None when absent."""
    advice = message.get("advice")
    value = advice.get("reconnect") if isinstance(advice, Mapping) else None
    return value if isinstance(value, str) else None


def advice_reason(stage: Stage, message: Mapping[str, Any]) -> EndReason | None:
    """Derive the end of the session from the advice of a successful reply.

    None when the advice is to continue.
    """
    advice = advised_reconnect(message)
    if advice is None or advice == "retry":
        return None
    if advice == "handshake":
        return EndReason("rehandshake_advised", f"{stage}: the server advises to handshake again")
    return EndReason(
        "reconnect_refused", f"{stage}: the server advises {one_line(advice, 40)!r} for reconnecting"
    )


def http_reason(stage: Stage, status: int, content_type: str, body: Any, excerpt: str) -> EndReason:
    """Derive the end of the session from an HTTP status other than 200.

    Salesforce sends its catalogue with other statuses too (an API version error has status 400), and REST-style errors
    (``[{"errorCode": "INVALID_SESSION_ID"}]``); a known text takes precedence over the status.

    Args:
        stage: kind of the request.
        status: HTTP status.
        content_type: content type of the body, as received.
        body: the body's JSON; None when it is not JSON.
        excerpt: the start of the body as text, free of secrets.
    """
    messages = body if isinstance(body, list) else [body]
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        text = failure_text(message) or _rest_error(message)
        if text is not None:
            reason = _reason_from_text(stage, text, None, None)
            if reason.code != "unknown_error":
                return reason
    body_text = one_line(f"{content_type or 'no content type'}: {excerpt}" if excerpt else "empty body", 200)
    detail = f"{stage}: HTTP {status}, {body_text}"
    if status == 410:
        return EndReason(
            "api_version", detail, Remedy.STOP, "This API version is retired: set a newer one, such as 66.0."
        )
    if 300 <= status < 400:
        # The org has moved: a new token response names the new instance.
        return EndReason("http_redirect", detail, Remedy.REAUTHENTICATE)
    code, remedy = _REASON_BY_STATUS.get(status, (f"http_{status // 100}xx", Remedy.RETRY))
    return EndReason(code, detail, remedy)


def _rest_error(message: Mapping[str, Any]) -> str | None:
    code = message.get("errorCode")
    return f"{code}: {message.get('message', '')}"[:_MAX_TEXT_LENGTH] if isinstance(code, str) else None


def _object_name(channel: str | None) -> str:
    """Name the object of a single-entity channel; describe those of other channels."""
    if channel is None:
        return "the object"
    name = channel.rsplit("/", 1)[-1]
    if name.endswith("__ChangeEvent"):
        return name.removesuffix("ChangeEvent") + "c"
    if name.endswith("ChangeEvent"):
        return name.removesuffix("ChangeEvent")
    return f"the objects of {channel}"
