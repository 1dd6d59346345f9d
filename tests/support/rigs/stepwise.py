"""A tenure of the real ingest, stepped: it does what it is given and waits for more; time passes when it is told that it does."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from consumer.domain.lifecycle import OrgInfo
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.options import IngestOptions
from consumer.ingest.tenure import begin_ingest
from consumer.ports.salesforce import RecordSource
from consumer.ports.source import (
    Answer,
    Inbound,
    SessionEnded,
    SessionOpened,
)
from tests.model.rig import THE_ORG, Clock, Instance, ScheduledBuffer
from tests.support.builders.changes import COMMIT_MS
from tests.support.rigs.observing import Ignore

SERVER_AHEAD_MS = 20_000
"""Salesforce's clock, unless it is told, is so far past everything."""


class Stepwise:
    """What a tenure is given.

    Args:
        buffer: through which.
        loop: the tenure's.
        channels: subscribed in each session.
        clock: its time.
    """

    def __init__(
        self, buffer: IntakeBuffer, loop: asyncio.Task[None], channels: Sequence[str], clock: Clock
    ) -> None:
        self._buffer, self._loop, self._channels, self.clock = buffer, loop, channels, clock
        self._sessions = itertools.count(1)

    async def open(self, *, after_ms: int = 0) -> None:
        """A session from the beginning of the retention."""
        self.clock.now += after_ms
        resumed = dict.fromkeys(self._channels, "-2")
        await self._give(SessionOpened(next(self._sessions), resumed, COMMIT_MS, self.clock.now))

    async def answer(
        self, messages: Sequence[Any], *, after_ms: int = 0, server_ms: int | None = None
    ) -> None:
        """A poll is answered, ``after_ms`` later; ``server_ms`` is Salesforce's time."""
        self.clock.now += after_ms
        body = orjson.dumps(messages)
        server_ms = COMMIT_MS + SERVER_AHEAD_MS + self.clock.now if server_ms is None else server_ms
        await self._give(Answer(1, json.loads(body), body, server_ms, self.clock.now))

    async def lose(self) -> None:
        """The session ends."""
        await self._give(SessionEnded(1, "unknown_client", self.clock.now))

    async def _give(self, item: Inbound) -> None:
        await self._buffer.put(item)
        wait_drained = asyncio.create_task(self._buffer.wait_drained())
        await asyncio.wait({self._loop, wait_drained}, return_when=asyncio.FIRST_COMPLETED)
        if self._loop.done():
            wait_drained.cancel()
            self._loop.result()


@asynccontextmanager
async def tenure(
    store: Any, channels: tuple[str, ...], rows: RecordSource | None, org: OrgInfo = THE_ORG, **options: Any
) -> AsyncIterator[Stepwise]:
    """Win the lease of an open store, ingest, stop in order."""
    clock, buffer = Clock(), ScheduledBuffer(10_000, 1 << 24)
    won = await store.acquire("one", 3_600_000)
    ingest = await begin_ingest(
        store, won, buffer, lambda: org, Instance(), IngestOptions(channels, **options), clock, Ignore(),
        lookup_source=rows, record_source=None,
    )  # fmt: skip
    loop = asyncio.create_task(ingest.loop.run())
    try:
        yield Stepwise(buffer, loop, channels, clock)
    finally:
        ingest.loop.stop()
        await loop
        await ingest.loop.commit_remaining()
        await store.release(won)
