"""``handlers``: which are configured, where they stand in the journal, what is asked of them, and which could be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from consumer.cli import handler_orders, trying
from consumer.cli.options import Config, Json, read_settings, settings_and_store
from consumer.cli.output import json_line, say, table

if TYPE_CHECKING:
    from consumer.delivery.spec import HandlerSpec
    from consumer.ports import HandlerOrder, HandlerRequests, SavedPlace

__all__ = ["app"]

app = typer.Typer(help="What is done with lifecycle events.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """What is done with lifecycle events."""


app.command("pause")(handler_orders.pause)
app.command("resume")(handler_orders.resume)
app.command("forget")(handler_orders.forget)
app.command("test")(trying.try_)


@app.command("list")
def list_(config: Config = None, json: Json = False) -> None:
    """List configured handlers with their place and lag, then the installed ones that settings can name.

    Example: cadence-consumer handlers list --json
    """
    import asyncio

    from consumer.delivery.resolving import installed
    from consumer.errors import StoreUnavailable

    async def read() -> tuple[
        dict[str, HandlerSpec], dict[str, SavedPlace], int | None, dict[str, HandlerRequests], dict[str, int]
    ]:
        try:
            async with settings_and_store(config) as (settings, store):
                _, last = await store.bounds()
                specs = settings.handlers_to_run()
                places = {name: place for name, place in (await store.places()).items() if "/" not in name}
                names = [*specs, *_former(specs, places)]
                parked = {name: len(await store.parked(name)) for name in names}
                return specs, places, last, await store.requests(names), parked
        except StoreUnavailable as error:
            # What is configured is worth knowing before the service has ever run.
            say(f"places and lags are unknown: {error}")
            return read_settings(config).handlers_to_run(), {}, None, {}, {}

    specs, places, last, requests, parked = asyncio.run(read())
    configured = [
        _configured(name, specs.get(name), places.get(name), last, requests.get(name), parked.get(name, 0))
        for name in [*specs, *_former(specs, places)]
    ]
    available = [(name, entry.value) for name, entries in sorted(installed().items()) for entry in entries]
    if json:
        for line in configured:
            json_line(line)
        for name, target in available:
            json_line({"kind": "installed", "name": name, "use": target})
        return
    table(
        ("handler", "use", "on", "offset", "lag", "parked", "dead", ""),
        [
            (
                line["name"],
                line["use"] or "",
                ", ".join(line["on"]) if line["on"] else "its own",
                "new" if line["offset"] is None else str(line["offset"]),
                "" if line["lag"] is None else str(line["lag"]),
                str(line["parked"] or ""),
                str(line["dead_letters"] or ""),
                line["status"] if line["status"] != "enabled" else ", ".join(line["orders"]),
            )
            for line in configured
        ],
    )
    table(("installed", "is"), available)


def _former(specs: dict[str, HandlerSpec], places: dict[str, SavedPlace]) -> list[str]:
    return sorted(name for name in places if name not in specs)


def _configured(
    name: str,
    spec: HandlerSpec | None,
    saved: SavedPlace | None,
    last: int | None,
    requests: HandlerRequests | None,
    parked: int,
) -> dict[str, Any]:
    from consumer.delivery.place import Place

    offset = Place.load(saved.data).offset if saved is not None else None
    status = "not configured any more" if spec is None else "enabled" if spec.enabled else "disabled"
    return {
        "kind": "configured",
        "name": name,
        "use": spec.use if spec is not None else None,
        "on": list(spec.on) if spec is not None and spec.on is not None else None,
        "status": status,
        "offset": offset,
        "parked": parked,
        "dead_letters": requests.dead_letters if requests is not None else 0,
        "orders": [_order(order) for order in requests.orders] if requests is not None else [],
        "lag": max(0, last - offset) if last is not None and offset is not None else None,
    }


def _order(order: HandlerOrder) -> str:
    if order.kind == "pause":
        return "paused"
    return f"replays {order.after + 1} to {order.through}"
