"""Commands ``handlers``: configured handlers and their state, installed handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from consumer.cli import handler_commands, handlers_test
from consumer.cli.command_frame import run_with_store
from consumer.cli.options import Config, Json, read_settings
from consumer.cli.render.output import print_json, print_message, table

if TYPE_CHECKING:
    from consumer.delivery.handler_settings import HandlerSpec
    from consumer.ports.delivery import HandlerCommand, PendingCommands, SavedCursor
    from consumer.ports.store import Store
    from consumer.settings import Settings

    _Stored = tuple[
        dict[str, HandlerSpec], dict[str, SavedCursor], int | None, dict[str, PendingCommands], dict[str, int]
    ]

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """List, test, pause, resume and forget handlers of lifecycle events."""


app.command("pause")(handler_commands.pause)
app.command("resume")(handler_commands.resume)
app.command("forget")(handler_commands.forget)
app.command("test")(handlers_test.dry_run)


@app.command("list")
def list_(config: Config = None, json: Json = False) -> None:
    """List configured handlers with cursor and lag, then installed handlers.

    Example: cadence-consumer handlers list --json
    """
    from consumer.delivery.plugins import installed_handlers
    from consumer.errors import StoreUnavailable

    stored: _Stored
    try:
        stored = run_with_store(config, _read)
    except StoreUnavailable as error:
        # Configured handlers can be listed before the service has ever run.
        print_message(f"offsets and lags are unknown: {error}")
        stored = read_settings(config).handlers_to_run(), {}, None, {}, {}
    specs, cursors, last, pending_commands, blocked_runs = stored
    configured = [
        _configured(
            name,
            specs.get(name),
            cursors.get(name),
            last,
            pending_commands.get(name),
            blocked_runs.get(name, 0),
        )
        for name in [*specs, *_unconfigured(specs, cursors)]
    ]
    available = [
        (name, entry.value) for name, entries in sorted(installed_handlers().items()) for entry in entries
    ]
    if json:
        for line in configured:
            print_json(line)
        for name, target in available:
            print_json({"kind": "installed", "name": name, "use": target})
        return
    table(
        ("handler", "use", "on", "offset", "lag", "blocked", "dead letters", ""),
        [
            (
                line["name"],
                line["use"] or "",
                ", ".join(line["on"]) if line["on"] else "its own",
                "new" if line["offset"] is None else str(line["offset"]),
                "" if line["lag"] is None else str(line["lag"]),
                str(line["blocked_runs"] or ""),
                str(line["dead_letters"] or ""),
                line["status"] if line["status"] != "enabled" else ", ".join(line["commands"]),
            )
            for line in configured
        ],
    )
    table(("installed", "is"), available)


async def _read(settings: Settings, store: Store) -> _Stored:
    _, last = await store.bounds()
    specs = settings.handlers_to_run()
    cursors = {name: cursor for name, cursor in (await store.cursors()).items() if "/" not in name}
    names = [*specs, *_unconfigured(specs, cursors)]
    blocked_runs = {name: len(await store.blocked_runs(name)) for name in names}
    return specs, cursors, last, await store.pending_commands(names), blocked_runs


def _unconfigured(specs: dict[str, HandlerSpec], cursors: dict[str, SavedCursor]) -> list[str]:
    return sorted(name for name in cursors if name not in specs)


def _configured(
    name: str,
    spec: HandlerSpec | None,
    saved: SavedCursor | None,
    last: int | None,
    pending_commands: PendingCommands | None,
    blocked_runs: int,
) -> dict[str, Any]:
    from consumer.delivery.cursor import Cursor

    offset = Cursor.restore(name, saved).offset if saved is not None else None
    status = "not configured any more" if spec is None else "enabled" if spec.enabled else "disabled"
    return {
        "kind": "configured",
        "name": name,
        "use": spec.use if spec is not None else None,
        "on": list(spec.on) if spec is not None and spec.on is not None else None,
        "status": status,
        "offset": offset,
        "blocked_runs": blocked_runs,
        "dead_letters": pending_commands.dead_letters if pending_commands is not None else 0,
        "commands": [_describe(command) for command in pending_commands.commands]
        if pending_commands is not None
        else [],
        "lag": max(0, last - offset) if last is not None and offset is not None else None,
    }


def _describe(command: HandlerCommand) -> str:
    if command.kind == "pause":
        return "paused"
    return f"replays {command.after + 1} to {command.through}"
