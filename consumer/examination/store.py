"""The store: whether it answers, takes commits and keeps them, whose it is, and how much of Salesforce's 72 hours is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumer.clock import Clock
from consumer.durations import in_words
from consumer.errors import StoreEmpty, StoreForeign, StoreUnavailable
from consumer.examination.findings import Fault, Tell, failed, fine, skipped, warned
from consumer.ports import ChannelState, Store
from consumer.telemetry.watchdogs import RETENTION_MS, headroom_ms

__all__ = ["KnownOfStore", "examine_store"]

SHORT_MS = 24 * 3_600_000
"""Less than this is left: somebody should start the service today."""


@dataclass(frozen=True, slots=True)
class KnownOfStore:
    """What the other checks want to know of it.

    Attributes:
        readable: whether it could be read.
        org_id: the org it belongs to; None while it is new.
    """

    readable: bool
    org_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    empty: bool = False
    org_id: str | None = None
    holder: str | None = None
    channels: Mapping[str, ChannelState] = field(default_factory=dict)


async def examine_store(store: Store, channels: Sequence[str], clock: Clock, tell: Tell) -> KnownOfStore:
    """Look at a store that is not open yet; it is closed afterwards.

    Args:
        store: opened for reading only.
        channels: the configured ones.
        clock: wall.
        tell: takes the findings.
    """
    try:
        content = await _content(store)
        tell(fine("store", _reached(store, content)))
        for problem in await store.write_problems():
            tell(failed("store", problem, "", Fault.UNAVAILABLE))
    except StoreUnavailable as error:
        action = "Check store.url, and that the server runs and can be reached from here."
        if store.url.startswith("sqlite:"):
            action = "Check store.url, and that the file is a database of this service that may be read."
        tell(failed("store", str(error), action, Fault.UNAVAILABLE))
        for check in ("durability", "checkpoint"):
            tell(skipped(check, "the store cannot be read"))
        return KnownOfStore(readable=False)
    except StoreForeign as error:
        tell(failed("store", str(error), ""))
        return KnownOfStore(readable=False)
    else:
        warnings = await store.warnings()
        for warning in warnings:
            tell(failed("durability", warning, ""))
        if not warnings:
            tell(fine("durability", "it keeps what it is given"))
        for channel in channels:
            _checkpoint(channel, content.channels.get(channel), clock.wall_ms(), tell)
        return KnownOfStore(readable=True, org_id=content.org_id)
    finally:
        await store.aclose()


async def _content(store: Store) -> _Content:
    try:
        await store.open()
    except StoreEmpty:
        return _Content(empty=True)
    lease = await store.lease()
    return _Content(org_id=await store.org_id(), holder=lease.holder, channels=await store.channels())


def _reached(store: Store, content: _Content) -> str:
    if content.empty:
        return f"{store.url} is new: the service makes it when it runs"
    return f"{store.url} answers; the lease is held by {content.holder or 'nobody'}"


def _checkpoint(channel: str, known: ChannelState | None, now_ms: int, tell: Tell) -> None:
    if known is None:
        tell(fine("checkpoint", f"{channel} was never subscribed; replay.start says where it begins"))
        return
    left_ms = headroom_ms(known, now_ms)
    # Of polls that were answered with nothing left over, too: in a quiet org the position itself does not move.
    age = in_words(max(RETENTION_MS - left_ms, 0))
    if left_ms <= 0:
        tell(
            failed(
                "checkpoint",
                f"{channel} is {age} behind, and Salesforce keeps changes for 72 h",
                "Start the service: what was missed is read over REST, unless replay.on_expired says halt.",
            )
        )
    elif left_ms < SHORT_MS:
        action = f"Start the service within {in_words(left_ms)}: Salesforce keeps changes for 72 h."
        tell(warned("checkpoint", f"{channel} is {age} behind", action))
    else:
        tell(fine("checkpoint", f"{channel} is {age} behind, of the 72 h that Salesforce keeps changes"))
