"""What the stores write alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Final, TypeVar

import orjson
from pydantic import TypeAdapter

from consumer.errors import StoreDamaged
from consumer.foreign_json import in_form
from consumer.ports import ChannelState, HandlerOrder, ParkedRun

__all__ = [
    "HISTORY_KEPT",
    "ONCE_MOST",
    "decode_channel",
    "decode_channels",
    "decode_parked",
    "encode_channels",
    "encode_parked",
    "orders_of",
]

T = TypeVar("T")

HISTORY_KEPT: Final = 20_000
"""Past positions that are kept over all channels: a week of two channels at one a minute each."""

ONCE_MOST: Final = 1_000_000
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


def encode_parked(row: ParkedRun) -> bytes:
    """A parked run as JSON."""
    return orjson.dumps(asdict(row))


def decode_parked(data: bytes) -> ParkedRun:
    """A parked run as :func:`encode_parked` wrote it.

    Raises:
        StoreDamaged: it is something else.
    """
    return _decoded(_parked, "row of a parked run", data)


def _decoded(form: TypeAdapter[T], what: str, data: bytes) -> T:
    try:
        return in_form(form, data)
    except ValueError as error:
        raise StoreDamaged(what, data) from error


_channel = TypeAdapter(ChannelState)
_channels = TypeAdapter(dict[str, ChannelState])
_parked = TypeAdapter(ParkedRun)


def orders_of(orders: Iterable[HandlerOrder], handler: str) -> tuple[HandlerOrder, ...]:
    """Those of one handler, the oldest first."""
    return tuple(
        sorted((each for each in orders if each.handler == handler), key=lambda each: (each.at_ms, each.id))
    )
