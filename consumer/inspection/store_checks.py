"""The store: whether it answers, takes commits and keeps them, whose it is, and how much of Salesforce's 72 hours is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumer.clock import Clock
from consumer.domain.bus_retention import BUS_RETENTION_MS, LOW_HEADROOM_MS, headroom_ms
from consumer.durations import humanize_ms
from consumer.errors import StoreEmpty, StoreForeign, StoreUnavailable
from consumer.inspection.findings import (
    FailureKind,
    ReportFinding,
    failed,
    passed,
    skipped,
    warned,
)
from consumer.ports.commit import ChannelState
from consumer.ports.store import Store

__all__ = ["StoreFacts", "check_store"]

"""Less than this is left: somebody should start the service today."""


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the other checks want to know of it.

    Attributes:
        readable: whether it could be read.
        org_id: the org it belongs to; None while it is new.
    """

    readable: bool
    org_id: str | None = None


@dataclass(frozen=True, slots=True)
class _StoreContent:
    empty: bool = False
    org_id: str | None = None
    holder: str | None = None
    channels: Mapping[str, ChannelState] = field(default_factory=dict)


async def check_store(
    store: Store, channels: Sequence[str], clock: Clock, report: ReportFinding
) -> StoreFacts:
    """Look at a store that is not open yet; it is closed afterwards.

    Args:
        store: opened for reading only.
        channels: the configured ones.
        clock: wall.
        report: takes the findings.
    """
    try:
        content = await _read_content(store)
        report(passed("store", _reachable_message(store, content)))
        for problem in await store.write_problems():
            report(failed("store", problem, "", FailureKind.UNAVAILABLE))
    except StoreUnavailable as error:
        action = "Check store.url, and that the server runs and can be reached from here."
        if store.url.startswith("sqlite:"):
            action = "Check store.url, and that the file is a database of this service that may be read."
        report(failed("store", str(error), action, FailureKind.UNAVAILABLE))
        for check in ("durability", "checkpoint"):
            report(skipped(check, "the store cannot be read"))
        return StoreFacts(readable=False)
    except StoreForeign as error:
        report(failed("store", str(error), ""))
        return StoreFacts(readable=False)
    else:
        warnings = await store.warnings()
        for warning in warnings:
            report(failed("durability", warning, ""))
        if not warnings:
            report(passed("durability", "it keeps what it is given"))
        for channel in channels:
            _check_headroom(channel, content.channels.get(channel), clock.wall_ms(), report)
        return StoreFacts(readable=True, org_id=content.org_id)
    finally:
        await store.aclose()


async def _read_content(store: Store) -> _StoreContent:
    try:
        await store.open()
    except StoreEmpty:
        return _StoreContent(empty=True)
    lease = await store.lease()
    return _StoreContent(org_id=await store.org_id(), holder=lease.holder, channels=await store.channels())


def _reachable_message(store: Store, content: _StoreContent) -> str:
    if content.empty:
        return f"{store.url} is new: the service makes it when it runs"
    return f"{store.url} answers; the lease is held by {content.holder or 'nobody'}"


def _check_headroom(channel: str, state: ChannelState | None, now_ms: int, report: ReportFinding) -> None:
    if state is None:
        report(passed("checkpoint", f"{channel} was never subscribed; replay.start says where it begins"))
        return
    left_ms = headroom_ms(state, now_ms)
    # Of polls that were answered with nothing left over, too: in a quiet org the position itself does not move.
    age = humanize_ms(max(BUS_RETENTION_MS - left_ms, 0))
    if left_ms <= 0:
        report(
            failed(
                "checkpoint",
                f"{channel} is {age} behind, and Salesforce keeps changes for 72 h",
                "Start the service: what was missed is read over REST, unless replay.on_expired says halt.",
            )
        )
    elif left_ms < LOW_HEADROOM_MS:
        action = f"Start the service within {humanize_ms(left_ms)}: Salesforce keeps changes for 72 h."
        report(warned("checkpoint", f"{channel} is {age} behind", action))
    else:
        report(passed("checkpoint", f"{channel} is {age} behind, of the 72 h that Salesforce keeps changes"))
