"""One tenure of the real ingest on a real SQLite store, with a scripted stream; for tests in virtual time."""

import asyncio
import json
from contextlib import asynccontextmanager

import orjson

from consumer.clock import SystemClock
from consumer.domain.lifecycle import OrgInfo
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.commit_sender import CommitSender
from consumer.ingest.options import IngestOptions
from consumer.ingest.pipeline import Ingest
from consumer.ports.source import Answer, SessionEnded, SessionOpened
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.builders.changes import (
    COMMIT_MS,
    ORG,
    RUN_CHANNEL,
    STEP_CHANNEL,
)

CHANNELS = (RUN_CHANNEL, STEP_CHANNEL)


class Witness:
    """Counts what ingest tells."""

    def __init__(self):
        self.summaries, self.letters, self.refusals, self.stuck, self.lookups = [], [], [], [], []
        self.unknown_values, self.unknown = [], []
        self.census, self.expired = {}, 0
        self.pending, self.mending_failed, self.unread, self.done = {}, [], [], []

    def received(self, channel, changes): ...
    def held(self, changes): ...
    def lookup_failed(self, why, records):
        self.lookups.append(why)

    def gap(self, change): ...
    def reconciling(self, pending):
        self.pending = dict(pending)

    def reconcile_failing(self, task, why, again_ms):
        self.mending_failed.append((task, again_ms))

    def reconciled(self, reason, fetched, changed): ...
    def row_unreadable(self, entity, record_id, why):
        self.unread.append((record_id, why))

    def task_done(self, task, report):
        self.done.append((task, report))

    def states_counted(self, records, sizes):
        self.census = dict(records)

    def states_expired(self, states):
        self.expired += states

    def unknown_field(self, entity, unknown_values):
        self.unknown_values += [(entity, *one) for one in unknown_values]

    def input_stuck(self, channel, what):
        self.stuck.append(what)

    def quota_unknown(self, why):
        self.unknown.append(why)

    def input_recovered(self, channel):
        self.stuck.clear()

    def commit_failing(self, number, why, since_ms): ...
    def bad_event(self, letter):
        self.letters.append(letter)

    def committed(self, summary):
        self.summaries.append(summary)

    def position_refused(self, channel, position, policy, *, missed):
        self.refusals.append((channel, position, policy, missed))

    def total(self, name):
        return sum(getattr(summary, name) for summary in self.summaries)


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
    commit_sender = CommitSender(store, store, won, clock, witness.commit_failing)
    org, instance = OrgInfo(ORG, "https://acme.my.salesforce.com"), Instance()
    ingest = Ingest(
        store,
        commit_sender,
        buffer,
        lambda: org,
        instance,
        rows,
        IngestOptions(CHANNELS, **options),
        clock,
        witness,
        record_source,
    )
    await ingest.prepare()
    loop = asyncio.create_task(ingest.run())
    expiring = asyncio.create_task(ingest.state_expiry.run())
    reconciling = (
        None if ingest.reconcile_worker is None else asyncio.create_task(ingest.reconcile_worker.run())
    )
    try:
        rig = Rig(store, ingest, buffer, witness, clock)
        rig.instance = instance
        yield rig
    finally:
        for beside in (expiring, reconciling):
            if beside is not None:
                beside.cancel()
                await asyncio.wait({beside})
        ingest.stop()
        await loop
        await ingest.commit_remaining()
        await store.release(won)
        await store.aclose()
