"""Reading what a Bayeux client sent: messages, cookies, version, channels, replay ids.

Clients differ in what they send: an array or one object, several channels in a message, a replay map of
every channel they know. Everything here is pure and total: what makes no sense comes back as None or as
itself, for the dialogue to refuse.
"""

from __future__ import annotations

from typing import Any

import orjson

from consumer.sandbox import bayeux
from consumer.sandbox.bayeux import Message


def parse(body: bytes) -> list[Message] | None:
    """The Bayeux messages of a body, an array or a single object; None when it is neither."""
    try:
        decoded: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    messages = [decoded] if isinstance(decoded, dict) else decoded
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        return None
    return messages


def wrong_version(version: str) -> str | None:
    """Salesforce's complaint about the version in the URI, if it has one."""
    major, _, minor = version.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        return bayeux.VERSION_MANDATORY
    return bayeux.VERSION_UNSUPPORTED if int(major) < 37 else None


def cookies(header: str) -> dict[str, str]:
    """Cookie values byte for byte: one that a client re-encoded is not the one it was given."""
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return {name: value for name, _, value in pairs if name}


def subscription_names(message: Message) -> list[str]:
    """The channels a message names; Bayeux allows one or an array."""
    wanted = message.get("subscription")
    names = wanted if isinstance(wanted, list) else [wanted]
    return [name for name in names if isinstance(name, str) and name]


def replay_id(message: Message, channel: str) -> object:
    """The replay id asked for on `channel`, -1 when none is; keys of other channels are ignored."""
    ext = message.get("ext")
    replay = ext.get("replay") if isinstance(ext, dict) else None
    wanted = replay.get(channel) if isinstance(replay, dict) else None
    if wanted is None:
        return -1
    if isinstance(wanted, str) and wanted.lstrip("-").isdigit():
        return int(wanted)
    return wanted if not isinstance(wanted, bool) else str(wanted)
