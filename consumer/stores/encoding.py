"""What the stores write alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Final

import orjson

from consumer.ports import ChannelState, HandlerOrder, ParkedRun

__all__ = [
    "HISTORY_KEPT",
    "ONCE_MOST",
    "decode_channels",
    "decode_parked",
    "encode_channels",
    "encode_parked",
    "orders_of",
]

HISTORY_KEPT: Final = 20_000
"""Past positions that are kept over all channels: a week of two channels at one a minute each."""

ONCE_MOST: Final = 1_000_000
"""Marks of ``ctx.once`` that are kept, the newest: in Redis of each handler, in SQLite of all together."""


def encode_channels(channels: Mapping[str, ChannelState]) -> bytes:
    """Positions as JSON."""
    return orjson.dumps({channel: asdict(state) for channel, state in channels.items()})


def decode_channels(data: bytes) -> dict[str, ChannelState]:
    """Positions as :func:`encode_channels` wrote them."""
    return {channel: ChannelState(**value) for channel, value in orjson.loads(data).items()}


def encode_parked(row: ParkedRun) -> bytes:
    """A parked run as JSON."""
    return orjson.dumps(asdict(row))


def decode_parked(data: bytes) -> ParkedRun:
    """A parked run as :func:`encode_parked` wrote it."""
    value = orjson.loads(data)
    return ParkedRun(**{**value, "done": tuple(value["done"])})


def orders_of(orders: Iterable[HandlerOrder], handler: str) -> tuple[HandlerOrder, ...]:
    """Those of one handler, the oldest first."""
    return tuple(
        sorted((each for each in orders if each.handler == handler), key=lambda each: (each.at_ms, each.id))
    )
