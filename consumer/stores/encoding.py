"""Encodings that all stores share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Final, TypeVar

import orjson
from pydantic import TypeAdapter

from consumer.domain.stored_json import decode_stored
from consumer.ports.commit import ChannelState
from consumer.ports.delivery import HandlerCommand, SavedBlockedRun
from consumer.safe_json import validate

__all__ = [
    "HISTORY_KEPT",
    "ONCE_MARKS_KEPT",
    "commands_of",
    "decode_blocked_run",
    "decode_channel",
    "decode_channels",
    "encode_blocked_run",
    "encode_channels",
]

T = TypeVar("T")

HISTORY_KEPT: Final = 20_000
"""Number of past positions kept over all channels.

Enough for a week of two channels at one position a minute each.
"""

ONCE_MARKS_KEPT: Final = 1_000_000
"""Number of newest marks of ``ctx.once`` that are kept.

Per handler in Redis, in total in SQLite.
"""


def encode_channels(channels: Mapping[str, ChannelState]) -> bytes:
    """Encode positions as JSON."""
    return orjson.dumps({channel: asdict(state) for channel, state in channels.items()})


def decode_channels(data: bytes) -> dict[str, ChannelState]:
    """Decode the JSON of :func:`encode_channels`.

    Raises:
        StoreDamaged: the data is anything else.
    """
    return _decoded(_channels, "positions of a named checkpoint", data)


def decode_channel(data: bytes) -> ChannelState:
    """Decode the JSON of one channel's state.

    Raises:
        StoreDamaged: the data is anything else.
    """
    return _decoded(_channel, "position of a channel", data)


def encode_blocked_run(row: SavedBlockedRun) -> bytes:
    """Encode a blocked run as JSON."""
    return orjson.dumps(asdict(row))


def decode_blocked_run(data: bytes) -> SavedBlockedRun:
    """Decode the JSON of :func:`encode_blocked_run`.

    Raises:
        StoreDamaged: the data is anything else.
    """
    return _decoded(_blocked_run, "row of a blocked run", data)


def _decoded(adapter: TypeAdapter[T], noun: str, data: bytes) -> T:
    return decode_stored(noun, data, partial(validate, adapter))


_channel = TypeAdapter(ChannelState)
_channels = TypeAdapter(dict[str, ChannelState])
_blocked_run = TypeAdapter(SavedBlockedRun)


def commands_of(commands: Iterable[HandlerCommand], handler: str) -> tuple[HandlerCommand, ...]:
    """Select the commands of one handler, the oldest first."""
    selected = (command for command in commands if command.handler == handler)
    return tuple(sorted(selected, key=lambda command: (command.at_ms, command.id)))
