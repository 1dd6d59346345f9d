"""Parsing of Bayeux requests: messages, cookies, version, channels, replay ids.

Clients differ in what they send: an array or one object, several channels in a message, a replay map of all their
channels. The functions are pure and total: they return an invalid value as None or unchanged, for the caller to
refuse.
"""

from __future__ import annotations

from typing import Any

import orjson

from consumer.sandbox import bayeux
from consumer.sandbox.bayeux import Message


def parse(body: bytes) -> list[Message] | None:
    """Parse a body's messages, an array or a single object; None if it is neither."""
    try:
        decoded: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    messages = [decoded] if isinstance(decoded, dict) else decoded
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return None
    return messages


def wrong_version(version: str) -> str | None:
    """Return Salesforce's error about the version in the URI, if it is wrong."""
    major, _, minor = version.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        return bayeux.VERSION_MANDATORY
    return bayeux.VERSION_UNSUPPORTED if int(major) < 37 else None


def cookies(header: str) -> dict[str, str]:
    """Parse cookies, with their values as sent: a re-encoded value must not match."""
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return {name: value for name, _, value in pairs if name}


def subscription_names(message: Message) -> list[str]:
    """List the channels of a message; Bayeux allows one or an array."""
    subscription = message.get("subscription")
    names = subscription if isinstance(subscription, list) else [subscription]
    return [name for name in names if isinstance(name, str) and name]


def replay_id(message: Message, channel: str) -> object:
    """Return the replay id for `channel`, or -1 if there is none."""
    ext = message.get("ext")
    replay = ext.get("replay") if isinstance(ext, dict) else None
    requested = replay.get(channel) if isinstance(replay, dict) else None
    if requested is None:
        return -1
    if isinstance(requested, str) and requested.lstrip("-").isdigit():
        return int(requested)
    return requested if not isinstance(requested, bool) else str(requested)
