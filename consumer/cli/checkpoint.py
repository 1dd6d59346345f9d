"""Commands ``checkpoint``: positions up to which the service has read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from consumer.cli import checkpoint_positions
from consumer.cli.command_frame import run_with_store
from consumer.cli.options import Config, Json
from consumer.cli.render.output import print_json, print_message, table

if TYPE_CHECKING:
    from consumer.ports.commit import ChannelState
    from consumer.ports.lease import LeaseState
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Show, save and move the positions up to which the service has read."""


@app.command("show")
def show(config: Config = None, json: Json = False) -> None:
    """Show the stored position of every channel, the org and the lease holder.

    Example: cadence-consumer checkpoint show --json
    """
    import time

    from consumer.clock import iso
    from consumer.durations import humanize_ms

    async def read(
        settings: Settings, store: Store
    ) -> tuple[Settings, str | None, LeaseState, dict[str, ChannelState]]:
        return settings, await store.org_id(), await store.lease(), await store.channels()

    settings, org, lease, channels = run_with_store(config, read)
    now_ms = time.time_ns() // 1_000_000

    def time_of(ms: int | None) -> str | None:
        return iso(ms) if ms is not None else None

    def age_ms(state: ChannelState) -> int | None:
        return max(0, now_ms - state.position_ms) if state.position_ms is not None else None

    if json:
        for name, state in sorted(channels.items()):
            print_json(
                {
                    "channel": name,
                    "position": state.position,
                    "position_time": time_of(state.position_ms),
                    "age_ms": age_ms(state),
                    "birth": iso(state.birth_ms),
                    "polled_through": time_of(state.polled_through_ms),
                    "org_id": org,
                    "lease_holder": lease.holder,
                }
            )
        return
    print_message(
        f"store {settings.store.shown}, org {org or 'not known yet'}, lease held by {lease.holder or 'nobody'}"
    )
    table(
        ("channel", "position", "moved", "subscribed since", "polled through"),
        [
            (
                name,
                state.position or "none yet",
                f"{humanize_ms(age)} ago" if (age := age_ms(state)) is not None else "never",
                iso(state.birth_ms),
                time_of(state.polled_through_ms) or "",
            )
            for name, state in sorted(channels.items())
        ],
    )
    for channel in settings.channels:
        if channel not in channels:
            print_message(f"{channel} is configured but has never been subscribed")


app.command("history")(checkpoint_positions.history)
app.command("save")(checkpoint_positions.save)
app.command("set")(checkpoint_positions.set_)
app.command("export")(checkpoint_positions.export)
app.command("import")(checkpoint_positions.import_)
