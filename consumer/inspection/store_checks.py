"""Checks of the store: reachable, writable, durable, org, headroom."""

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

"""Headroom below which the operator is told to start the service today."""


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """Facts about the store that other checks need.

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
    """Check a store that is not open yet; it is closed afterwards.

    Args:
        store: to be opened for reading only.
        channels: the configured channels.
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
            report(passed("durability", "no problem with the persistence of the store"))
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
        return f"{store.url} is new: the service creates it when it runs"
    return f"{store.url} answers; the lease is held by {content.holder or 'nobody'}"


def _check_headroom(channel: str, state: ChannelState | None, now_ms: int, report: ReportFinding) -> None:
    if state is None:
        report(passed("checkpoint", f"{channel} was never subscribed; replay.start decides where it begins"))
        return
    left_ms = headroom_ms(state, now_ms)
    # Polls that were answered in full count as well: in a quiet org the position itself does not move.
    age = humanize_ms(max(BUS_RETENTION_MS - left_ms, 0))
    if left_ms <= 0:
        report(
            failed(
                "checkpoint",
                f"{channel} is {age} behind, and Salesforce keeps changes for 72 h",
                "Start the service: missed changes are read over REST, unless replay.on_expired is halt.",
            )
        )
    elif left_ms < LOW_HEADROOM_MS:
        action = f"Start the service within {humanize_ms(left_ms)}: Salesforce keeps changes for 72 h."
        report(warned("checkpoint", f"{channel} is {age} behind", action))
    else:
        report(passed("checkpoint", f"{channel} is {age} behind, of the 72 h that Salesforce keeps changes"))
