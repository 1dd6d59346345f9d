"""What the stores write alike."""

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
"""Past positions that are kept over all channels: a week of two channels at one a minute each."""

ONCE_MARKS_KEPT: Final = 1_000_000
"""Marks of ``ctx.once`` that are kept, the newest: in Redis of each handler, in SQLite of all together."""


def encode_channels(channels: Mapping[str, ChannelState]) -> bytes:
    """Positions as JSON."""
    return orjson.dumps({channel: asdict(state) for channel, state in channels.items()})


def decode_channels(data: bytes) -> dict[str, ChannelState]:
    """Positions as :func:`encode_channels` wrote them.

    Raises:
        StoreDamaged: it is something else.
    """
    return _decoded(_channels, "positions of a named checkpoint", data)


def decode_channel(data: bytes) -> ChannelState:
    """What is remembered of a channel, as JSON.

    Raises:
        StoreDamaged: it is something else.
    """
    return _decoded(_channel, "position of a channel", data)


def encode_blocked_run(row: SavedBlockedRun) -> bytes:
    """A parked run as JSON."""
    return orjson.dumps(asdict(row))


def decode_blocked_run(data: bytes) -> SavedBlockedRun:
    """A parked run as :func:`encode_blocked_run` wrote it.

    Raises:
        StoreDamaged: it is something else.
    """
    return _decoded(_blocked_run, "row of a parked run", data)


def _decoded(form: TypeAdapter[T], what: str, data: bytes) -> T:
    return decode_stored(what, data, partial(validate, form))


_channel = TypeAdapter(ChannelState)
_channels = TypeAdapter(dict[str, ChannelState])
_blocked_run = TypeAdapter(SavedBlockedRun)


def commands_of(commands: Iterable[HandlerCommand], handler: str) -> tuple[HandlerCommand, ...]:
    """Those of one handler, the oldest first."""
    return tuple(
        sorted((each for each in commands if each.handler == handler), key=lambda each: (each.at_ms, each.id))
    )
