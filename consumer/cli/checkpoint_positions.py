"""Commands ``checkpoint history``, ``save``, ``set``, ``export`` and ``import``.

Moving a position makes Salesforce deliver changes again (or skip them). Journaled changes are still recognised, so moving back reconciles
state and repeats no event. A move ends the current tenure; its holder wins the lease again and reads the position from the store. Commands
that move positions are dry runs unless ``--yes`` is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.command_frame import run_with_store
from consumer.cli.error_reporting import fail
from consumer.cli.options import Config, Json
from consumer.cli.render.output import print_json, print_message, table
from consumer.process import ExitCode

if TYPE_CHECKING:
    from consumer.ports.commit import ChannelState, PastPosition
    from consumer.ports.store import Store
    from consumer.settings import Settings

__all__ = ["export", "history", "import_", "save", "set_"]

FORMAT = 1
"""Version of the format of exported files."""

Yes = Annotated[bool, typer.Option("--yes", help="Apply the change; without this, only print it.")]


def history(
    channel: Annotated[str | None, typer.Option(help="Only this channel.")] = None,
    limit: Annotated[int, typer.Option("-n", min=1, help="Number of entries, the newest ones.")] = 20,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show earlier positions of channels, and the named checkpoints.

    Example: cadence-consumer checkpoint history -n 5
    """
    from consumer.clock import iso

    async def read(
        _: Settings, store: Store
    ) -> tuple[list[PastPosition], dict[str, dict[str, ChannelState]]]:
        return await store.history(channel, limit), await store.saved_checkpoints()

    history_rows, saved = run_with_store(config, read)
    if json:
        for entry in history_rows:
            print_json(
                {
                    "time": iso(entry.at_ms),
                    "channel": entry.channel,
                    "position": entry.position,
                    "offset": entry.offset,
                }
            )
        for name, channels in saved.items():
            positions = {channel_name: state.position for channel_name, state in channels.items()}
            print_json({"name": name, "channels": positions})
        return
    table(
        ("time", "channel", "position", "journal offset"),
        [(iso(entry.at_ms), entry.channel, entry.position, str(entry.offset)) for entry in history_rows],
    )
    for name, channels in saved.items():
        print_message(f"saved as {name}: {_positions(channels)}")


def save(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of the checkpoint; replaces an existing one of that name."),
    ],
    config: Config = None,
) -> None:
    """Save the current positions under a name.

    Example: cadence-consumer checkpoint save before-release
    """

    async def save_current(_: Settings, store: Store) -> dict[str, ChannelState]:
        channels = await store.channels()
        if channels:
            await store.save_checkpoint(name, channels)
        return channels

    channels = run_with_store(config, save_current, read_only=False)
    if not channels:
        raise fail("there are no positions to save: no channel has been subscribed yet")
    print_message(f"saved as {name}: {_positions(channels)}")


def set_(
    name: Annotated[str | None, typer.Option(help="Move to this named checkpoint.")] = None,
    position: Annotated[str | None, typer.Option(help="Move to this replay id; needs --channel.")] = None,
    channel: Annotated[str | None, typer.Option(help="Move only this channel.")] = None,
    earliest: Annotated[
        bool, typer.Option("--earliest", help="Move to the oldest event that Salesforce retains.")
    ] = False,
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Move channels to other positions, from which Salesforce delivers again.

    Changes that are already in the journal are recognised and not journaled again. A dry run unless --yes is set.

    Example: cadence-consumer checkpoint set --name before-release --yes
    """
    if [name is not None, position is not None, earliest].count(True) != 1:
        raise fail(
            "give exactly one of --name NAME, --position ID (with --channel CHANNEL) and --earliest",
            ExitCode.USAGE,
        )
    if position is not None and channel is None:
        raise fail("--position needs --channel: a replay id belongs to one channel", ExitCode.USAGE)

    def select_positions(
        current: Mapping[str, ChannelState], saved: Mapping[str, Mapping[str, ChannelState]]
    ) -> dict[str, ChannelState]:
        if name is not None:
            if name not in saved:
                raise fail(f"there is no checkpoint {name}; saved checkpoints: {', '.join(saved) or 'none'}")
            return {
                channel_name: state
                for channel_name, state in saved[name].items()
                if channel in (None, channel_name)
            }
        if channel is not None and channel not in current:
            raise fail(
                f"{channel} has never been subscribed; subscribed channels: {', '.join(current) or 'none'}"
            )
        return {
            channel_name: replace(state, position=position, position_ms=None, polled_through_ms=None)
            for channel_name, state in current.items()
            if channel in (None, channel_name)
        }

    _move(config, select_positions, yes=yes)


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write; - for standard output.")
    ] = Path("-"),
    config: Config = None,
) -> None:
    """Write the positions as JSON, for `checkpoint import`.

    Example: cadence-consumer checkpoint export positions.json
    """
    import sys

    import orjson

    async def read(_: Settings, store: Store) -> bytes:
        channels = {name: asdict(state) for name, state in (await store.channels()).items()}
        value = {"format": FORMAT, "org_id": await store.org_id(), "channels": channels}
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    data = run_with_store(config, read)
    if str(file) == "-":
        sys.stdout.write(data.decode())
    else:
        file.write_bytes(data)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File written by `checkpoint export`.")],
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Move channels to exported positions, for example on a new store.

    A dry run unless --yes is set.

    Example: cadence-consumer checkpoint import positions.json --yes
    """
    org_id, channels = _read_export_file(file)

    def select_positions(
        _current: Mapping[str, ChannelState], _saved: Mapping[str, Mapping[str, ChannelState]]
    ) -> dict[str, ChannelState]:
        return channels

    _move(config, select_positions, yes=yes, org_id=org_id)


def _read_export_file(file: Path) -> tuple[str | None, dict[str, ChannelState]]:
    try:
        return read_export(file.read_bytes())
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise fail(f"{file} {error}") from None


def read_export(data: bytes) -> tuple[str | None, dict[str, ChannelState]]:
    """Parse the org's id and the positions of a file written by ``checkpoint export``.

    Raises:
        ValueError: the data is something else; the message continues a sentence that begins with the file's name.
    """
    import orjson
    from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
    from typing_extensions import TypedDict

    from consumer.ports.commit import ChannelState  # noqa: F401 - pydantic reads the annotation
    from consumer.safe_json import validate

    @with_config(ConfigDict(extra="forbid", strict=True))
    class Export(TypedDict):
        format: int
        org_id: str | None
        channels: dict[str, ChannelState]

    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    version = value.get("format") if isinstance(value, dict) else None
    if isinstance(version, int) and version != FORMAT:
        raise ValueError(f"is of format {version}; this release reads format {FORMAT}")
    try:
        exported = validate(TypeAdapter(Export), data)
    except ValueError as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            reason = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise ValueError(f"is not a file of `checkpoint export` ({' '.join(reason.split())})") from None
    return exported["org_id"], exported["channels"]


PositionSelector = Callable[
    [Mapping[str, "ChannelState"], Mapping[str, Mapping[str, "ChannelState"]]], dict[str, "ChannelState"]
]


def _move(
    config: Path | None, select_positions: PositionSelector, *, yes: bool, org_id: str | None = None
) -> None:
    """Print the moves; make them if ``yes`` is set."""

    async def move(_: Settings, store: Store) -> None:
        current = await store.channels()
        store_org_id = await store.org_id()
        if org_id is not None and store_org_id not in (None, org_id):
            raise fail(f"the positions are of org {org_id}, but the store belongs to org {store_org_id}")
        channels = select_positions(current, await store.saved_checkpoints())
        for name, state in channels.items():
            old_position = current[name].position if name in current else None
            print_message(
                f"{name}: {old_position or 'no position'} -> {state.position or 'the oldest retained event'}"
            )
        if yes:
            await store.move(channels)
            print_message("moved; a running service starts a new tenure from there")
        else:
            print_message("nothing was changed; pass --yes to apply it")

    run_with_store(config, move, read_only=not yes and org_id is None)


def _positions(channels: Mapping[str, ChannelState]) -> str:
    return ", ".join(f"{name} at {state.position or 'its birth'}" for name, state in sorted(channels.items()))
