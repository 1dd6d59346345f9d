"""Commands ``state``: stored state of a record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json, record_id
from consumer.cli.render.output import print_json, print_message, table

if TYPE_CHECKING:
    from consumer.domain.record_state import RecordState
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Show the stored state of a record."""


@app.command("show")
def show(
    record: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Id of a run, step or target, 15 or 18 characters, or the record's URL."
        ),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Show the stored fields of a run, of a step, or of every run of a target.

    Example: cadence-consumer state show 0qBxx0000004C92EAE
    """
    requested_id = record_id(record)

    async def read(_: Settings, store: Store) -> list[RecordState]:
        from consumer.cli.timeline import runs_of
        from consumer.domain.record_state import RecordState

        stored = await store.states([requested_id])
        if requested_id not in stored:
            stored = await store.states(await runs_of(store, requested_id))
        return [state for data in stored.values() if (state := RecordState.decode(data)).exists]

    states = run_with_store(config, read)
    if not states:
        raise fail(f"there is no state of {requested_id}: no change of this record has been received")
    for state in states:
        _print_state(state, json=json)


def _print_state(state: RecordState, *, json: bool) -> None:
    if json:
        print_json(
            {
                "entity": state.entity,
                "record_id": state.record_id,
                "tracker_id": state.tracker_id,
                "deleted": state.is_deleted,
                "complete": state.image is not None,
                "fields": state.values(),
            }
        )
        return
    print_message(f"{state.entity} {state.record_id}{' (deleted)' if state.is_deleted else ''}")
    if state.image is None:
        print_message("its creation has not been received: fields that are not listed are unknown")
    table(
        ("field", "value"),
        [
            (name, "(empty)" if value is None else str(value))
            for name, value in sorted(state.values().items())
        ],
    )
