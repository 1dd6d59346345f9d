"""One tenure of the real ingest on a real SQLite store, with a scripted stream; for tests in virtual time."""

import asyncio
import json
from contextlib import asynccontextmanager

import orjson

from consumer.clock import SystemClock
from consumer.domain.lifecycle import OrgInfo
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.options import IngestOptions
from consumer.ingest.tenure import begin_ingest
from consumer.ports.observers.ingest_events import (
    BadEventReceived,
    ChangesReleasedEarly,
    CommitApplied,
    InputRecovered,
    InputStuck,
    LookupFailed,
    PositionRefused,
    QuotaUnknown,
    UnknownValuesReceived,
)
from consumer.ports.observers.reconcile_events import (
    ReconcileFetchFailed,
    ReconcileTaskCompleted,
    ReconcileTasksCounted,
    RowUnreadable,
    StatesCounted,
    StatesExpired,
)
from consumer.ports.source import Answer, SessionEnded, SessionOpened
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.builders.changes import (
    COMMIT_MS,
    ORG,
    RUN_CHANNEL,
    STEP_CHANNEL,
)
from tests.support.rigs.observing import Recorder

CHANNELS = (RUN_CHANNEL, STEP_CHANNEL)


class Witness(Recorder):
    """What ingest reported, in short."""

    def observe(self, event):
        if isinstance(event, InputRecovered):
            self.clear(InputStuck)
        super().observe(event)

    @property
    def dead_letters(self):
        return [event.dead_letter for event in self.of(BadEventReceived)]

    @property
    def refusals(self):
        return self.facts(PositionRefused)

    @property
    def stuck(self):
        return [event.error for event in self.of(InputStuck)]

    @property
    def lookups(self):
        return [event.error for event in self.of(LookupFailed)]

    @property
    def unknown(self):
        return [event.error for event in self.of(QuotaUnknown)]

    @property
    def unknown_values(self):
        return [
            (entity, *value) for event in self.of(UnknownValuesReceived) for entity, value in event.counts
        ]

    @property
    def census(self):
        return next((dict(event.records) for event in reversed(self.of(StatesCounted))), {})

    @property
    def forced(self):
        return sum(event.changes for event in self.of(ChangesReleasedEarly))

    @property
    def expired(self):
        return sum(event.states for event in self.of(StatesExpired))

    @property
    def pending(self):
        return next((dict(event.pending) for event in reversed(self.of(ReconcileTasksCounted))), {})

    @property
    def reconcile_failed(self):
        return [(event.task, event.retry_after_ms) for event in self.of(ReconcileFetchFailed)]

    @property
    def unread(self):
        return [(event.record_id, event.error) for event in self.of(RowUnreadable)]

    @property
    def done(self):
        return [(event.task, event.report) for event in self.of(ReconcileTaskCompleted)]

    def total(self, name):
        return sum(getattr(event, name) for event in self.of(CommitApplied))


class Instance:
    """The org's instance as the test says."""

    name = "NA1"

    async def refresh(self): ...


class Rig:
    """One tenure with a scripted stream."""

    def __init__(self, store, ingest, buffer, witness, clock):
        self.store, self.ingest, self.buffer, self.witness, self.clock = store, ingest, buffer, witness, clock
        self.session = 0

    async def open(self, **resumed):
        self.session += 1
        options = {RUN_CHANNEL: "-1", STEP_CHANNEL: "-1"} | {
            f"/data/{name}": value for name, value in resumed.items()
        }
        await self.buffer.put(SessionOpened(self.session, options, COMMIT_MS, self.clock.monotonic_ms()))

    async def answer(self, *messages, server_ms=COMMIT_MS + 1_000):
        body = orjson.dumps(messages)
        await self.buffer.put(
            Answer(self.session, json.loads(body), body, server_ms, self.clock.monotonic_ms())
        )

    async def lose(self):
        await self.buffer.put(SessionEnded(self.session, "unknown_client", self.clock.monotonic_ms()))

    async def pass_time(self, ms, every=250):
        for _ in range(0, ms, every):
            await asyncio.sleep(every / 1000)
            await self.answer()

    async def pass_nothing(self, ms, every=250):
        for _ in range(0, ms, every):
            await asyncio.sleep(every / 1000)

    async def journal(self):
        return [json.loads(entry.data) for entry in await self.store.read(0, 10_000)]

    async def types(self):
        return [event["type"] for event in await self.journal()]


@asynccontextmanager
async def tenure(path, rows=None, record_source=None, **options):
    store = SqliteStore(path)
    await store.open()
    won = await store.acquire("test", 60_000)
    clock, buffer, witness = SystemClock(), IntakeBuffer(100_000, 1 << 26), Witness()
    org, instance = OrgInfo(ORG, "https://acme.my.salesforce.com"), Instance()
    ingest = await begin_ingest(
        store,
        won,
        buffer,
        lambda: org,
        instance,
        IngestOptions(CHANNELS, **options),
        clock,
        witness,
        lookup_source=rows,
        record_source=record_source,
    )
    loop = asyncio.create_task(ingest.loop.run())
    expiring = asyncio.create_task(ingest.state_expiry.run())
    reconciling = (
        None if ingest.reconcile_worker is None else asyncio.create_task(ingest.reconcile_worker.run())
    )
    try:
        rig = Rig(store, ingest, buffer, witness, clock)
        rig.instance, rig.tenure = instance, won
        yield rig
    finally:
        try:
            for beside in (expiring, reconciling):
                if beside is not None:
                    beside.cancel()
                    await asyncio.wait({beside})
            ingest.loop.stop()
            await loop
            await ingest.loop.commit_remaining()
            await store.release(won)
        finally:
            await store.aclose()  # also when the tenure ends with an error, as a test may want
