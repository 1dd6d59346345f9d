"""Options of ingest, as plain arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["IngestOptions"]


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """Settings of ingest; durations in milliseconds.

    Attributes:
        channels: names of all configured channels.
        start: where a channel begins that was never subscribed: ``latest`` or ``earliest``.
        on_expired: policy for a refused position: ``repair``, ``earliest``, ``latest`` or ``halt``.
        spend_allocation: ``replay.spend_allocation``: whether everything retained is read even if the org's allocation does not bear it.
        lateness_ms: ``ordering.lateness``.
        window: ``ordering.window``.
        max_hold_ms: ``ordering.max_hold``.
        strict: ``ordering.strict``.
        max_events: ``commit.max_events``, in changes.
        max_delay_ms: ``commit.max_delay``.
        max_catch_up_ms: session time that channels get to catch up after an opening, before nothing is waited for any more.
        max_held: number of held changes at which the lowest are released.
        sweep_ms: ``repair.sweep``: interval at which REST is asked what changed; None never asks.
        snapshot: ``snapshot.mode``: ``never``, ``initial`` or ``when_needed``.
        snapshot_emit: ``snapshot.emit``: whether events of records that only a snapshot found are journaled.
        retention_ms: ``state.retention``: time for which ended runs and their steps are kept; None keeps them forever.
        hydrate: whether runs that were never seen are looked up before their changes are interpreted.
    """

    channels: Sequence[str]
    start: str = "latest"
    on_expired: str = "halt"
    spend_allocation: bool = False
    lateness_ms: int = 1_000
    window: int = 1_000
    max_hold_ms: int = 5_000
    strict: bool = True
    max_events: int = 500
    max_delay_ms: int = 20
    max_held: int = 20_000
    max_catch_up_ms: int = 120_000
    sweep_ms: int | None = None
    snapshot: str = "never"
    snapshot_emit: bool = False
    retention_ms: int | None = None
    hydrate: bool = True
