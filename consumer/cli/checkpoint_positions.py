"""``checkpoint history|save|set|export|import``: what people do with positions.

Moving a position makes Salesforce deliver again (or skip): changes that were journaled stay recognised, so going back mends state and
repeats nothing. It ends the tenure under way, whose holder wins the lease again and reads the position from the store. Whatever changes a
position is a dry run until ``--yes``.
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
"""Of exported files."""

Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]


def history(
    channel: Annotated[str | None, typer.Option(help="Of this channel alone.")] = None,
    limit: Annotated[int, typer.Option("-n", min=1, help="How many, the newest.")] = 20,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show where channels once were, and the named checkpoints.

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
            print_json({"name": name, "channels": {each: state.position for each, state in channels.items()}})
        return
    table(
        ("time", "channel", "position", "journal offset"),
        [(iso(entry.at_ms), entry.channel, entry.position, str(entry.offset)) for entry in history_rows],
    )
    for name, channels in saved.items():
        print_message(f"saved as {name}: {_positions(channels)}")


def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Replaces a checkpoint of that name.")],
    config: Config = None,
) -> None:
    """Keep the current positions under a name.

    Example: cadence-consumer checkpoint save before-release
    """

    async def save_current(_: Settings, store: Store) -> dict[str, ChannelState]:
        channels = await store.channels()
        if channels:
            await store.save_checkpoint(name, channels)
        return channels

    channels = run_with_store(config, save_current, read_only=False)
    if not channels:
        raise fail("there are no positions to save yet: no channel was ever subscribed")
    print_message(f"saved as {name}: {_positions(channels)}")


def set_(
    name: Annotated[str | None, typer.Option(help="To this named checkpoint.")] = None,
    position: Annotated[str | None, typer.Option(help="To this replay id; needs --channel.")] = None,
    channel: Annotated[str | None, typer.Option(help="This channel alone.")] = None,
    earliest: Annotated[
        bool, typer.Option("--earliest", help="To the oldest event that Salesforce still holds.")
    ] = False,
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Move channels, so that Salesforce delivers again from there; what is journaled already stays recognised.

    Example: cadence-consumer checkpoint set --name before-release --yes
    """
    if [name is not None, position is not None, earliest].count(True) != 1:
        raise fail(
            "say where to: --name NAME, --position ID --channel CHANNEL, or --earliest", ExitCode.USAGE
        )
    if position is not None and channel is None:
        raise fail("--position needs --channel: a replay id belongs to one channel", ExitCode.USAGE)

    def select_positions(
        now: Mapping[str, ChannelState], saved: Mapping[str, Mapping[str, ChannelState]]
    ) -> dict[str, ChannelState]:
        if name is not None:
            if name not in saved:
                raise fail(f"there is no checkpoint {name}; there are {', '.join(saved) or 'none'}")
            return {each: state for each, state in saved[name].items() if channel in (None, each)}
        if channel is not None and channel not in now:
            raise fail(f"{channel} was never subscribed; known are {', '.join(now) or 'none'}")
        return {
            each: replace(state, position=position, position_ms=None, polled_through_ms=None)
            for each, state in now.items()
            if channel in (None, each)
        }

    _move(config, select_positions, yes=yes)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - for standard output.")] = Path(
        "-"
    ),
    config: Config = None,
) -> None:
    """Write the positions as JSON, for ``checkpoint import``.

    Example: cadence-consumer checkpoint export positions.json
    """
    import sys

    import orjson

    async def read(_: Settings, store: Store) -> bytes:
        channels = {each: asdict(state) for each, state in (await store.channels()).items()}
        value = {"format": FORMAT, "org_id": await store.org_id(), "channels": channels}
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    data = run_with_store(config, read)
    if str(file) == "-":
        sys.stdout.write(data.decode())
    else:
        file.write_bytes(data)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `checkpoint export` wrote.")],
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Move channels to exported positions, as on a new store.

    Example: cadence-consumer checkpoint import positions.json --yes
    """
    org_id, channels = _read_export_file(file)

    def select_positions(
        _now: Mapping[str, ChannelState], _saved: Mapping[str, Mapping[str, ChannelState]]
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
    """The org's id and the positions in what ``checkpoint export`` wrote.

    Raises:
        ValueError: it is something else; says what, as the end of a sentence that begins with the file.
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
    number = value.get("format") if isinstance(value, dict) else None
    if isinstance(number, int) and number != FORMAT:
        raise ValueError(f"is of format {number}; this version reads {FORMAT}")
    try:
        exported = validate(TypeAdapter(Export), data)
    except ValueError as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            reason = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise ValueError(f"is not what checkpoint export writes ({' '.join(reason.split())})") from None
    return exported["org_id"], exported["channels"]


PositionSelector = Callable[
    [Mapping[str, "ChannelState"], Mapping[str, Mapping[str, "ChannelState"]]], dict[str, "ChannelState"]
]


def _move(
    config: Path | None, select_positions: PositionSelector, *, yes: bool, org_id: str | None = None
) -> None:
    """Say what changes, and do it when told to."""

    async def move(_: Settings, store: Store) -> None:
        now = await store.channels()
        known = await store.org_id()
        if org_id is not None and known not in (None, org_id):
            raise fail(f"the positions are of org {org_id}, the store belongs to {known}")
        channels = select_positions(now, await store.saved_checkpoints())
        for each, state in channels.items():
            old_position = now[each].position if each in now else None
            print_message(
                f"{each}: {old_position or 'no position'} -> {state.position or 'the oldest event that is retained'}"
            )
        if yes:
            await store.move(channels)
            print_message("moved; a service that runs begins a new tenure from there")
        else:
            print_message("nothing was changed; --yes does it")

    run_with_store(config, move, read_only=not yes and org_id is None)


def _positions(channels: Mapping[str, ChannelState]) -> str:
    return ", ".join(f"{each} at {state.position or 'its birth'}" for each, state in sorted(channels.items()))
