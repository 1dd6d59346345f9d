"""Command ``demo``: a simulated org with faults, the service, and a live view.

The simulated org reorders, repeats and drops events on purpose. :class:`_InputCounter` counts what arrives on the service's side of the
socket, so that the summary is a measurement: changes received after a younger one, changes received twice in one session, changes
received again after a session was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.command_frame import run_async
from consumer.cli.render.output import print_json, print_message
from consumer.process import ExitCode, on_signals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from consumer.domain.lifecycle_events import LifecycleEvent
    from consumer.ports.journal import JournalEntry
    from consumer.ports.observers.observer import Observer
    from consumer.ports.observers.session_events import SessionEvent
    from consumer.ports.store import Store
    from consumer.sandbox import Sandbox
    from consumer.settings import Settings

__all__ = ["demo"]


def demo(
    exit_after: Annotated[
        int, typer.Option(min=0, help="Stop after this number of lifecycle events; 0 for Ctrl-C only.")
    ] = 0,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON, one lifecycle event per line, instead of the live view."),
    ] = False,
    rate: Annotated[float, typer.Option(min=0.5, max=500.0, help="Change events per second.")] = 40.0,
    seed: Annotated[int, typer.Option(help="Seed of the random activity.")] = 1,
) -> None:
    """Run the service against a simulated org that reorders, repeats and drops events.

    Example: cadence-consumer demo --exit-after 200 --json
    """
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="cadence-demo-") as folder:
        summary = run_async(_demo(Path(folder), exit_after, json=json, rate=rate, seed=seed))
    for line in summary.lines():
        print_message(line)
    if summary.out_of_order or summary.duplicates:
        raise typer.Exit(ExitCode.FAILED)


@dataclass(slots=True)
class _InputCounter:
    """Observer of sessions that counts faults of the input and forwards every event."""

    inner: Observer[SessionEvent]
    changes: int = 0
    reordered: int = 0
    duplicated: int = 0
    redelivered: int = 0
    sessions: int = 0
    dropped: int = 0
    got_messages: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an answer has messages."""
    _highest: tuple[int, int] = (0, 0)
    _seen: dict[tuple[str, Any], int] = field(default_factory=dict)
    _changes: set[tuple[Any, ...]] = field(default_factory=set)

    def observe(self, event: SessionEvent) -> None:
        from consumer.ports.observers.session_events import PollAnswered, SessionClosed, SessionStarted

        match event:
            case SessionStarted():
                self.sessions += 1
            case PollAnswered(answer):
                for message in answer.messages:
                    self._count(answer.session, message)
                    self.got_messages.set()
            case SessionClosed():
                self.dropped += 1
        self.inner.observe(event)

    def _count(self, session: int, message: Mapping[str, Any]) -> None:
        self.changes += 1
        data = message["data"]
        header = data["payload"]["ChangeEventHeader"]
        position = (message["channel"], data["event"]["replayId"])
        change = (header["transactionKey"], header["commitNumber"], header["sequenceNumber"])
        before = self._seen.get(position)
        if before is not None and before != session:
            self.redelivered += 1
        elif before is not None or change in self._changes:
            self.duplicated += 1
        elif change[1:] < self._highest:
            self.reordered += 1
        self._seen[position] = session
        self._changes.add(change)
        self._highest = max(self._highest, change[1:])


@dataclass(slots=True)
class _OutputChecker:
    """Check of the output: every event once, and those of each run in commit order."""

    events: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    late: int = 0
    _ids: set[str] = field(default_factory=set)
    _runs: dict[str, tuple[int, int]] = field(default_factory=dict)

    def check(self, event: LifecycleEvent) -> None:
        self.events += 1
        self.late += event.late
        self.duplicates += event.id in self._ids
        self._ids.add(event.id)
        if event.tracker_id is None or event.transaction is None:
            return
        commit_order = (event.transaction.commit_number, event.transaction.sequence_number)
        if not event.late:
            self.out_of_order += commit_order < self._runs.get(event.tracker_id, commit_order)
            self._runs[event.tracker_id] = commit_order

    @property
    def runs(self) -> int:
        return len(self._runs)


@dataclass(slots=True)
class _Summary:
    input_counter: _InputCounter
    output: _OutputChecker
    seconds: float

    @property
    def out_of_order(self) -> int:
        return self.output.out_of_order

    @property
    def duplicates(self) -> int:
        return self.output.duplicates

    def lines(self) -> list[str]:
        input_counter, output = self.input_counter, self.output
        drops = f"{input_counter.dropped} dropped session{'' if input_counter.dropped == 1 else 's'}"
        arrived = f"{input_counter.changes} change events over {input_counter.sessions} sessions in {self.seconds:.1f} s"
        fault_counts = (
            f"{input_counter.reordered} reordered, {input_counter.duplicated} duplicated, "
            f"{input_counter.redelivered} redelivered, {drops}"
        )
        verdict = f"{output.duplicates} duplicates, {output.out_of_order} out of order, {output.late} late"
        return [
            f"in:  {arrived}: {fault_counts}",
            f"out: {output.events} lifecycle events of {output.runs} runs: {verdict}",
        ]


async def _demo(folder: Path, exit_after: int, *, json: bool, rate: float, seed: int) -> _Summary:
    import sys
    import time

    from consumer.cli.render.live import LiveView, plain_line
    from consumer.domain.lifecycle_events import LifecycleEvent
    from consumer.sandbox import FaultOptions, Sandbox, SandboxOptions, WorldOptions
    from consumer.stores.sqlite.sqlite_store import SqliteStore
    from consumer.telemetry.logging import Redactor, configure_logging
    from consumer.telemetry.session_telemetry import SessionTelemetry
    from consumer.wiring import make_instruments, make_service

    started = time.monotonic()
    live = not json and sys.stdout.isatty()
    redactor = Redactor()
    configure_logging("error" if live else "warning", "auto", redactor)
    options = SandboxOptions(
        seed=seed,
        world=WorldOptions(events_per_second=rate),
        faults=FaultOptions(reorder=0.08, swap=0.05, republish=0.03, duplicate=0.05),
    )
    async with Sandbox(options) as sandbox, contextlib.AsyncExitStack() as stack:
        settings = _settings(sandbox, folder)
        instruments, output = make_instruments(settings, redactor), _OutputChecker()
        input_counter = _InputCounter(
            SessionTelemetry(instruments.metrics, instruments.health, instruments.clock, settings.channels)
        )
        store = SqliteStore(settings.store.path)
        await store.open()
        stack.push_async_callback(store.aclose)
        # No handlers: the demo reads the journal, the source that handlers read from.
        service = await stack.enter_async_context(
            make_service(settings, store, [], instruments, session_observer=input_counter)
        )
        view = stack.enter_context(LiveView(sandbox.url)) if live else None

        def show(entry: JournalEntry) -> None:
            event = LifecycleEvent.from_json(entry.data)
            output.check(event)
            if json:
                print_json(entry.data)
            elif view is not None:
                view.add(event, _Summary(input_counter, output, time.monotonic() - started).lines())
            else:
                typer.echo(plain_line(event))

        service_task = asyncio.create_task(service.run())
        faults = asyncio.create_task(_inject_session_drops(sandbox, input_counter))
        follow_task = asyncio.create_task(_follow(store, exit_after, show))
        with on_signals(follow_task.cancel):
            await asyncio.wait({service_task, follow_task}, return_when=asyncio.FIRST_COMPLETED)
        faults.cancel()
        follow_task.cancel()
        service.stop()
        await service_task
    return _Summary(input_counter, output, time.monotonic() - started)


def _settings(sandbox: Sandbox, folder: Path) -> Settings:
    from consumer.settings import Settings

    credentials = sandbox.credentials
    return Settings.model_validate(
        {
            "salesforce": {
                "login_url": sandbox.url,
                "auth": "client_credentials",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
            },
            "store": {"url": f"sqlite:///{folder / 'demo.db'}"},
            # The world is active before the first session opens, and its first events are part of the demo.
            "replay": {"start": "earliest"},
        }
    )


async def _follow(store: Store, exit_after: int, show: Callable[[JournalEntry], None]) -> None:
    """Show the first ``exit_after`` events of the journal (0: without end)."""
    count, after = 0, 0
    while True:
        for entry in await store.read(after, 500):
            after = entry.offset
            show(entry)
            count += 1
            if count == exit_after:
                return
        await store.wait(after, 1_000)


async def _inject_session_drops(sandbox: Sandbox, input_counter: _InputCounter) -> None:
    """Drop the session now and then, right after an answer with messages.

    The last position of that answer is not complete yet, so the next session receives it again.
    """
    wait_s = 1.5
    while True:
        await asyncio.sleep(wait_s)
        input_counter.got_messages.clear()
        await input_counter.got_messages.wait()
        sandbox.faults.inject("drop_session")
        wait_s = 65.0  # longer than a session must last to count as healthy, or the backoff would grow
