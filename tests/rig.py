"""One tenure of the real ingest on a real SQLite store, with a scripted stream; for tests in virtual time."""

import asyncio
import json
from contextlib import asynccontextmanager

import orjson

from consumer.clock import SystemClock
from consumer.ingest.committer import Committer
from consumer.ingest.inbox import Inbox
from consumer.ingest.options import IngestOptions
from consumer.ingest.pipeline import Ingest
from consumer.lifecycle import Org
from consumer.ports import Answer, SessionEnded, SessionOpened
from consumer.stores.sqlite import SqliteStore
from tests.changes import COMMIT_MS, ORG, RUN_CHANNEL, STEP_CHANNEL

CHANNELS = (RUN_CHANNEL, STEP_CHANNEL)


class Witness:
    """Counts what ingest tells."""

    def __init__(self):
        self.summaries, self.letters, self.refusals, self.stuck, self.lookups = [], [], [], [], []
        self.novel, self.unknown = [], []
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
    def row_unread(self, entity, record_id, why):
        self.unread.append((record_id, why))

    def task_done(self, task, report):
        self.done.append((task, report))

    def states_counted(self, records, sizes):
        self.census = dict(records)

    def states_expired(self, states):
        self.expired += states

    def undocumented(self, entity, novel):
        self.novel += [(entity, *one) for one in novel]

    def input_stuck(self, channel, what):
        self.stuck.append(what)

    def allocation_unknown(self, why):
        self.unknown.append(why)

    def input_flows(self, channel):
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

    def __init__(self, store, ingest, inbox, witness, clock):
        self.store, self.ingest, self.inbox, self.witness, self.clock = store, ingest, inbox, witness, clock
        self.session = 0

    async def open(self, **resumed):
        self.session += 1
        options = {RUN_CHANNEL: "-1", STEP_CHANNEL: "-1"} | {
            f"/data/{name}": value for name, value in resumed.items()
        }
        await self.inbox.put(SessionOpened(self.session, options, COMMIT_MS, self.clock.monotonic_ms()))

    async def answer(self, *messages, server_ms=COMMIT_MS + 1_000):
        body = orjson.dumps(messages)
        await self.inbox.put(
            Answer(self.session, json.loads(body), body, server_ms, self.clock.monotonic_ms())
        )

    async def lose(self):
        await self.inbox.put(SessionEnded(self.session, "unknown_client", self.clock.monotonic_ms()))

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
async def tenure(path, rows=None, fetches=None, **options):
    store = SqliteStore(path)
    await store.open()
    won = await store.acquire("test", 60_000)
    clock, inbox, witness = SystemClock(), Inbox(100_000, 1 << 26), Witness()
    committer = Committer(store, store, won, clock, witness.commit_failing)
    org, instance = Org(ORG, "https://acme.my.salesforce.com"), Instance()
    ingest = Ingest(
        store,
        committer,
        inbox,
        lambda: org,
        instance,
        rows,
        IngestOptions(CHANNELS, **options),
        clock,
        witness,
        fetches,
    )
    await ingest.prepare()
    loop = asyncio.create_task(ingest.run())
    expiring = asyncio.create_task(ingest.expirer.run())
    mending = None if ingest.reconciler is None else asyncio.create_task(ingest.reconciler.run())
    try:
        rig = Rig(store, ingest, inbox, witness, clock)
        rig.instance = instance
        yield rig
    finally:
        for beside in (expiring, mending):
            if beside is not None:
                beside.cancel()
                await asyncio.wait({beside})
        ingest.stop()
        await loop
        await ingest.finish()
        await store.release(won)
        await store.aclose()
