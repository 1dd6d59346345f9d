"""Bayeux replies: one function for every reply that Salesforce is known to give.

Texts and shapes are Salesforce's own, spaces and braces included, because clients match on them. The handshake reply
has no advice, only the first connect after it does; the reply to an unknown client has no client id; a refused
handshake has its cause in `ext.sfdc.failureReason`. The functions are pure: no sockets, sessions or time.
"""

from __future__ import annotations

from typing import Any, Final

Message = dict[str, Any]

UNKNOWN_CLIENT: Final = "403::Unknown client"
AUTHENTICATION_INVALID: Final = "401::Authentication invalid"
AUTHENTICATION_REQUIRED: Final = "401::Request requires authentication"
HANDSHAKE_DENIED: Final = "403::Handshake denied"
NO_HANDSHAKE: Final = "403::Client has not completed handshake"
WRONG_USER: Final = "400::Authenticated user id does not match the session's user id"
NO_CHANNEL_NAME: Final = "400::Channel name not specified"
NO_LEADING_SLASH: Final = "400::Channel subscriptions must start with a leading '/'"
DAILY_LIMIT: Final = "403::Organization total events daily limit exceeded"
TOO_BUSY: Final = "503::Server is too busy.  Please try your request again later."
TOO_LARGE: Final = "Maximum Request Size Exceeded"

_URI_FORMAT: Final = "URI format: '/cometd/66.0'"
VERSION_MANDATORY: Final = f"400::API version in the URI is mandatory. {_URI_FORMAT}"
VERSION_UNSUPPORTED: Final = (
    f"400::Unsupported API version. Only API versions '37.0' and later are supported. {_URI_FORMAT}"
)


def invalid_replay(replay_id: object) -> str:
    """Error text for a replay id that is not on the bus.

    Braces and the two spaces after the first sentence are literal.
    """
    return (
        f"400::The replayId {{{replay_id}}} you provided was invalid.  "
        "Please provide a valid ID, -2 to replay all events, or -1 to replay only new events."
    )


def no_such_channel(channel: str) -> str:
    """Error text for a channel that does not exist."""
    return f"400::The channel you requested to subscribe to doesn't exist {{{channel}}}"


def no_cookie(client_id: str, cookie: str) -> str:
    """Error text for a client that sent no cookies."""
    return f"400::Client {client_id} has established a session, but no {cookie} cookie present"


def invalid_connection_type(connection_type: object) -> str:
    """Error text for any connection type but long-polling."""
    return f"400::Invalid connection type {{{connection_type}}}"


def handshake_ok(message: Message, client_id: str) -> Message:
    """Accept a handshake: replay and payload format offered, no advice."""
    return _with_id(
        message,
        {
            "ext": {"replay": True, "payload.format": True},
            "minimumVersion": "1.0",
            "clientId": client_id,
            "supportedConnectionTypes": ["long-polling"],
            "channel": "/meta/handshake",
        },
        {"version": "1.0", "successful": True},
    )


def handshake_refused(message: Message, reason: str) -> Message:
    """Refuse a handshake; the cause is the failure reason, not the error."""
    return _with_id(
        message,
        {
            "ext": {"sfdc": {"failureReason": reason}, "replay": True, "payload.format": True},
            "advice": {"reconnect": "none"},
            "channel": "/meta/handshake",
        },
        {"error": HANDSHAKE_DENIED, "successful": False},
    )


def connect_ok(message: Message, *, first: bool, timeout_ms: int) -> Message:
    """Answer a poll; the first after a handshake carries advice (durations in ms)."""
    reply: Message = {"clientId": message["clientId"]}
    if first:
        reply["advice"] = {"interval": 0, "timeout": timeout_ms, "reconnect": "retry"}
    reply["channel"] = "/meta/connect"
    return _with_id(message, reply, {"successful": True})


def subscribe_ok(message: Message) -> Message:
    """Accept a subscribe or unsubscribe."""
    return _with_id(
        message,
        {"clientId": message["clientId"], "channel": message["channel"]},
        {"subscription": message.get("subscription"), "successful": True},
    )


def disconnect_ok(message: Message) -> Message:
    """Accept a disconnect."""
    return _with_id(
        message, {"channel": "/meta/disconnect", "clientId": message["clientId"]}, {"successful": True}
    )


def server_disconnect() -> Message:
    """End the session from the server's side (since API version 64.0)."""
    return {"channel": "/meta/disconnect", "successful": True}


def unknown_client(message: Message, error: str = UNKNOWN_CLIENT) -> Message:
    """Reply that advises a client without a session to handshake again.

    It has no client id.
    """
    return _with_id(
        message,
        {"advice": {"interval": 0, "reconnect": "handshake"}, "channel": message.get("channel")},
        {"error": error, "successful": False},
    )


def refused(
    message: Message,
    error: str,
    *,
    failure_reason: str | None = None,
    advice: dict[str, Any] | None = None,
) -> Message:
    """Refuse a message for any other reason.

    Names its client id and subscription, and gives `advice` if any.
    """
    reply: Message = {}
    if failure_reason is not None:
        reply["ext"] = {"sfdc": {"failureReason": failure_reason}, "replay": True, "payload.format": True}
    if "clientId" in message:
        reply["clientId"] = message["clientId"]
    if advice is not None:
        reply["advice"] = advice
    reply["channel"] = message.get("channel")
    ending: Message = {"error": error, "successful": False}
    if "subscription" in message:
        ending = {"subscription": message["subscription"], **ending}
    return _with_id(message, reply, ending)


def unauthenticated(message: Message, reason: str) -> Message:
    """Refuse a token that is not, or no longer, valid, and forbid to reconnect."""
    if message.get("channel") == "/meta/handshake":
        return handshake_refused(message, reason)
    return refused(message, reason, advice={"reconnect": "none", "interval": 0})


def _with_id(message: Message, before: Message, after: Message) -> Message:
    """Insert the request's id, if it has one, where Salesforce puts it."""
    return {**before, **({"id": message["id"]} if "id" in message else {}), **after}
