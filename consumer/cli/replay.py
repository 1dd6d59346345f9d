"""``replay``: deliver a stretch of the journal to handlers again, beside what is new.

The wish stands in the store, so it survives the process that carries it out: whoever holds the lease delivers the stretch, in order per run
and within the handler's limits, with ``ctx.replayed`` set, and keeps its progress like a place. Nothing is asked of Salesforce. What a
handler has not reached yet is not replayed: it comes anyway.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.failures import ExitCode, fail
from consumer.cli.handler_orders import known, orders
from consumer.cli.options import Config, Json, instant_ms, read_settings
from consumer.cli.output import json_line, say

if TYPE_CHECKING:
    from consumer.delivery.loading import LoadedHandler
    from consumer.ports import HandlerOrder, JournalEntry, Store
    from consumer.settings import Settings

__all__ = ["replay"]

SHOWN = 10
"""Events that a dry run shows of each handler."""
LOOK_S = 0.5
READ = 1_000


@dataclass(frozen=True)
class _Stretch:
    after: int
    through: int


def replay(
    handler: Annotated[
        list[str] | None, typer.Option("--handler", help="To this handler; can be repeated.")
    ] = None,
    all_handlers: Annotated[
        bool, typer.Option("--all-handlers", help="To every configured handler.")
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="From the first event of then: ISO 8601, or 2h for so long ago."
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", metavar="NAME", help="From where the journal ended at this named checkpoint."
        ),
    ] = None,
    from_offset: Annotated[
        int | None, typer.Option("--from-offset", min=1, help="From this journal offset.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Until then; default: to the end.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count, and show the first events.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take back what is under way.")] = False,
    wait: Annotated[bool, typer.Option(help="Stay and show the progress; it goes on without you.")] = True,
    config: Config = None,
    json: Json = False,
) -> None:
    """Deliver events of the journal again, with ctx.replayed set, beside what is new.

    Example: cadence-consumer replay --handler crm --from 2026-01-31T09:00:00Z --dry-run
    """
    import asyncio

    if bool(handler) == all_handlers:
        raise fail("say to whom: --handler NAME or --all-handlers", ExitCode.USAGE)
    if not cancel and [from_ is not None, checkpoint is not None, from_offset is not None].count(True) != 1:
        raise fail("say from where: --from TIME, --checkpoint NAME or --from-offset OFFSET", ExitCode.USAGE)
    asyncio.run(
        _Replay(config, handler, json=json).run(
            lambda store: _stretch(store, from_, checkpoint, from_offset, to),
            dry_run=dry_run,
            cancel=cancel,
            wait=wait,
        )
    )


async def _stretch(
    store: Store, from_: str | None, checkpoint: str | None, from_offset: int | None, to: str | None
) -> _Stretch:
    from consumer.clock import from_ms
    from consumer.delivery.beginning import first_offset

    first, last = await store.bounds()
    if from_ is not None:
        after = await first_offset(store, from_ms(instant_ms(from_, "--from")))
    elif from_offset is not None:
        after = from_offset - 1
    else:
        assert checkpoint is not None
        after = await _offset_at(store, checkpoint)
    through = last if to is None else await first_offset(store, from_ms(instant_ms(to, "--to")))
    if after + 1 < first <= last:
        say(f"the journal begins at offset {first}: retention has removed what was before")
    return _Stretch(max(after, first - 1), through)


async def _offset_at(store: Store, name: str) -> int:
    """Where the journal ended when the positions were those of a named checkpoint: the earliest of its channels."""
    saved = await store.saved_checkpoints()
    if name not in saved:
        raise fail(f"there is no checkpoint {name}; there are {', '.join(saved) or 'none'}")
    wanted = {(channel, state.position) for channel, state in saved[name].items()}
    offsets = {
        (past.channel, past.position): past.offset
        for past in reversed(await store.history(None, sys.maxsize >> 16))
        if (past.channel, past.position) in wanted
    }
    if len(offsets) < len(wanted):
        raise fail(f"the history does not reach back to checkpoint {name}; use --from TIME")
    return min(offsets.values(), default=0)


class _Replay:
    """What is asked of the store on behalf of one command."""

    def __init__(self, config: Path | None, names: list[str] | None, *, json: bool) -> None:
        self._settings = read_settings(config)
        self._names = names or list(self._settings.handlers_to_run())
        self._json = json

    async def run(self, stretch: Any, *, dry_run: bool, cancel: bool, wait: bool) -> None:
        from consumer.app import open_store

        async with open_store(self._settings, read_only=dry_run) as store:
            for name in self._names:
                await known(self._settings, store, name)
            if cancel:
                await self._cancel(store)
                return
            whole: _Stretch = await stretch(store)
            given = []
            for name in self._names:
                of_one = await self._of(store, name, whole)
                if dry_run:
                    await self._show(store, name, of_one)
                elif of_one.after < of_one.through:
                    given.append(await self._give(store, name, of_one))
            if given and wait:
                await self._watch(store, given)

    async def _of(self, store: Store, name: str, whole: _Stretch) -> _Stretch:
        from consumer.delivery.place import Place

        saved = await store.place(name)
        through = whole.through if saved is None else min(whole.through, Place.load(saved.data).offset)
        if through < whole.through:
            say(f"{name} is at offset {through}: what follows comes anyway")
        if whole.after >= through:
            say(f"{name}: there is nothing to replay")
        return _Stretch(whole.after, through)

    async def _give(self, store: Store, name: str, stretch: _Stretch) -> HandlerOrder:
        from consumer.clock import SystemClock
        from consumer.ports import HandlerOrder

        now_ms = SystemClock().wall_ms()
        order = HandlerOrder(
            f"replay-{now_ms:x}-{name}", name, "replay", now_ms, stretch.after, stretch.through
        )
        await store.put_order(order)
        say(f"{name}: offsets {stretch.after + 1} to {stretch.through} are delivered again ({order.id})")
        if (await store.lease()).holder is None:
            say("no replica is running; it begins when one does")
        return order

    async def _cancel(self, store: Store) -> None:
        for name in self._names:
            replays = [order for order in await orders(store, name) if order.kind == "replay"]
            for order in replays:
                await store.remove_order(order, progress=False)
            say(f"{name}: {len(replays)} replay{'s' if len(replays) != 1 else ''} taken back")

    async def _show(self, store: Store, name: str, stretch: _Stretch) -> None:
        counts: Counter[str] = Counter()
        shown: list[JournalEntry] = []
        loaded = _loaded(self._settings, name)
        after = stretch.after
        while after < stretch.through and (entries := await store.read(after, READ)):
            after = entries[-1].offset
            mine = [entry for entry in entries if entry.offset <= stretch.through and _gets(loaded, entry)]
            counts.update(entry.type for entry in mine)
            shown += mine[: SHOWN - len(shown)]
        for entry in shown:
            if self._json:
                json_line(
                    {
                        "kind": "event",
                        "handler": name,
                        "offset": entry.offset,
                        "id": entry.id,
                        "type": entry.type,
                        "run": entry.tracker_id,
                    }
                )
            else:
                typer.echo(f"{entry.offset}  {entry.type}  {entry.tracker_id or '-'}  {entry.id}")
        if self._json:
            json_line(
                {
                    "kind": "count",
                    "handler": name,
                    "after": stretch.after,
                    "through": stretch.through,
                    "events": counts.total(),
                    "types": dict(counts),
                }
            )
        else:
            kinds = ", ".join(f"{count} {type_}" for type_, count in counts.most_common())
            say(f"{name}: {counts.total()} events would be delivered again{': ' if kinds else ''}{kinds}")

    async def _watch(self, store: Store, given: list[HandlerOrder]) -> None:
        import asyncio

        from consumer.delivery.place import Place

        told: dict[str, int] = {}
        while given:
            for order in list(given):
                if order not in await orders(store, order.handler):
                    given.remove(order)
                    self._tell(order, order.through, done=True)
                    continue
                saved = await store.place(order.place)
                offset = order.after if saved is None else Place.load(saved.data).offset
                tenth = (offset - order.after) * 10 // (order.through - order.after)
                if told.get(order.id) != tenth:
                    told[order.id] = tenth
                    self._tell(order, offset, done=False)
            if given:
                await asyncio.sleep(LOOK_S)

    def _tell(self, order: HandlerOrder, offset: int, *, done: bool) -> None:
        if self._json:
            json_line(
                {
                    "kind": "progress",
                    "handler": order.handler,
                    "id": order.id,
                    "offset": offset,
                    "after": order.after,
                    "through": order.through,
                    "done": done,
                }
            )
        else:
            percent = (offset - order.after) * 100 // (order.through - order.after)
            say(
                f"{order.handler}: done"
                if done
                else f"{order.handler}: {percent} %, at offset {offset} of {order.through}"
            )


def _loaded(settings: Settings, name: str) -> LoadedHandler | None:
    """The handler, for what it wants; None when it is not configured any more."""
    from consumer.delivery.loading import load_handlers

    spec = settings.handlers_to_run().get(name)
    return None if spec is None else next(iter(load_handlers({name: spec})), None)


def _gets(loaded: LoadedHandler | None, entry: JournalEntry) -> bool:
    from consumer.clock import SystemClock
    from consumer.delivery.admission import Admission
    from consumer.events import LifecycleEvent

    if loaded is None or entry.type not in loaded.types:
        return False
    event = LifecycleEvent.from_json(entry.data)
    return Admission(loaded, SystemClock().wall_ms).refusal(event, replayed=True) is None
