"""The source and its supervisor against a CometD server that nobody here wrote: everything published arrives, in order, through every fault."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import aiohttp
import pytest
from pydantic import SecretStr

from consumer.clock import SystemClock
from consumer.ingest.buffer import IntakeBuffer
from consumer.ingest.supervisor import Supervisor, SupervisorOptions
from consumer.ports.observers.session_events import PollAnswered, SessionClosed
from consumer.ports.source import Answer
from consumer.salesforce.cometd_session import CometdSource
from consumer.salesforce.grants import ClientCredentials
from consumer.salesforce.token_cache import TokenCache
from consumer.salesforce.token_endpoint import TokenEndpoint
from tests.interop.node import node_command, node_environment
from tests.support.rigs.observing import Recorder

SCRIPT = Path(__file__).parent.parent / "interop" / "cometd-server.cjs"
TRACKER = "/data/ActionCadenceTrackerChangeEvent"
STEP = "/data/ActionCadenceStepTrackerChangeEvent"
QUICK = SupervisorOptions(
    first_ms=20, max_ms=200, min_interval_ms=20, locked_first_ms=50, locked_max_ms=200, buffer_full_ms=300
)


def payload(channel: str, number: int) -> dict:
    entity = channel.removeprefix("/data/").removesuffix("ChangeEvent")
    header = {
        "entityName": entity,
        "recordIds": [f"0ub{number:012d}"],
        "changeType": "UPDATE",
        "changedFields": ["State"],
        "changeOrigin": "com/salesforce/api/rest/66.0",
        "transactionKey": f"0003{number:06d}-53f3-0a03-743e-46538797bf9f",
        "sequenceNumber": 1,
        "commitTimestamp": 1_782_898_215_000,
        "commitNumber": 10_915_706_000_000 + number,
        "commitUser": "0057F000001eSTfQAM",
    }
    return {"ChangeEventHeader": header, "State": "Running", "number": number}


class Bus:
    """The server's control routes."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def do(self, what: str, **body: object) -> dict:
        async with self._http.post(f"{self.url}/control/{what}", json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def publish(self, channel: str, numbers: range) -> list[int]:
        payloads = [payload(channel, number) for number in numbers]
        return (await self.do("publish", channel=channel, payloads=payloads))["replayIds"]

    async def ledger(self) -> dict[str, list[int]]:
        everything = await self.do("ledger")
        return {
            channel: [data["event"]["replayId"] for data in events] for channel, events in everything.items()
        }


@asynccontextmanager
async def cometd_server(**options: int):
    process = await asyncio.create_subprocess_exec(
        *node_command(),
        str(SCRIPT),
        json.dumps(options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=node_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            url = json.loads(await process.stdout.readline())["url"]
        async with aiohttp.ClientSession() as http:
            yield Bus(url, http)
    finally:
        process.stdin.close()
        async with asyncio.timeout(10):
            await process.wait()


class Tenure:
    """Takes answers, remembers positions as a commit would, and says where to resume."""

    def __init__(self, buffer: IntakeBuffer) -> None:
        self.buffer = buffer
        self.positions: dict[str, str] = {}
        self.received: dict[str, list[int]] = {TRACKER: [], STEP: []}
        self.refusals: list[tuple[str, str]] = []
        self.changed = asyncio.Condition()

    async def resume(self) -> Mapping[str, str]:
        return {channel: self.positions.get(channel, "-2") for channel in (TRACKER, STEP)}

    def poll_within_ms(self) -> None:
        return None

    async def refused(self, channel: str, position: str, detail: str, server_ms: int | None) -> None:
        assert position in detail
        self.refusals.append((channel, position))
        self.positions[channel] = "-2"

    async def take(self) -> None:
        while (item := await self.buffer.get()) is not None:
            if isinstance(item, Answer):
                for message in item.messages:
                    replay_id = message["data"]["event"]["replayId"]
                    self.received[message["channel"]].append(replay_id)
                    self.positions[message["channel"]] = str(replay_id)
            self.buffer.mark_processed()
            async with self.changed:
                self.changed.notify_all()

    async def until(self, condition) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(condition)

    def through(self, ledger: dict[str, list[int]]) -> bool:
        return all(set(events) <= set(self.received[channel]) for channel, events in ledger.items())


class Consumer:
    """Supervisor and taker on a bus; can be stopped and started again, keeping its positions."""

    def __init__(self, bus: Bus, buffer: IntakeBuffer | None = None) -> None:
        clock = SystemClock()
        self.tokens = TokenCache(ClientCredentials("app", SecretStr("secret"), bus.url), TokenEndpoint(clock))
        self.source = CometdSource(self.tokens, clock, api_version="66.0")
        self.tenure = Tenure(buffer or IntakeBuffer(50_000, 2**26))
        self.observed = Recorder()
        self.clock = clock

    @asynccontextmanager
    async def running(self):
        buffer = self.tenure.buffer
        supervisor = Supervisor(
            self.source,
            self.tenure,
            buffer,
            self.observed,
            self.clock,
            lateness_ms=200,
            random=Random(7),
            options=QUICK,
        )
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(supervisor.run()), tasks.create_task(self.tenure.take())]
            try:
                yield supervisor
            finally:
                for task in both:
                    task.cancel()


def first_seen(received: list[int]) -> list[int]:
    return list(dict.fromkeys(received))


@pytest.mark.long
async def test_everything_published_arrives_in_order_through_every_kind_of_fault():
    async with cometd_server() as bus:
        consumer = Consumer(bus)
        tenure = consumer.tenure
        number = 0
        for round_number in range(3):
            async with consumer.running():
                for fault in ("cut", "disconnect", "forget", "revoke", "cut"):
                    before = len(tenure.received[TRACKER])
                    for channel in (TRACKER, STEP):
                        await bus.publish(channel, range(number, number + 60))
                    number += 60
                    await tenure.until(lambda seen=before: len(tenure.received[TRACKER]) > seen)
                    await asyncio.gather(
                        bus.do(fault),
                        bus.publish(STEP, range(number, number + 20)),
                        bus.publish(TRACKER, range(number, number + 20)),
                    )
                    number += 20
                if round_number == 2:
                    ledger = await bus.ledger()
                    await tenure.until(lambda whole=ledger: tenure.through(whole))
            # Stopped in the middle: what was not taken is asked for again by position.
        assert {channel: first_seen(received) for channel, received in tenure.received.items()} == ledger
        assert sum(len(events) for events in ledger.values()) == 3 * 5 * 160
        assert tenure.refusals == []
        ends = {event.reason.code for event in consumer.observed.of(SessionClosed)}
        assert {"connection_lost", "server_disconnect", "authentication_invalid"} <= ends, ends
        assert ends & {"http_500", "unknown_client"}, ends
        assert (await bus.do("sessions"))["opened"] >= 12


async def test_a_stopped_consumer_resumes_after_its_position_without_repetition():
    async with cometd_server() as bus:
        consumer = Consumer(bus)
        tenure = consumer.tenure
        await bus.publish(TRACKER, range(100))
        async with consumer.running():
            await tenure.until(lambda: len(tenure.received[TRACKER]) == 100)
        await bus.publish(TRACKER, range(100, 150))
        await bus.publish(STEP, range(150, 160))
        async with consumer.running():
            await tenure.until(lambda: len(tenure.received[STEP]) == 10)
            await tenure.until(lambda: len(tenure.received[TRACKER]) == 150)
        assert tenure.received == await bus.ledger()


async def test_an_expired_position_reaches_the_plan_and_the_other_channel_is_untouched():
    async with cometd_server() as bus:
        consumer = Consumer(bus)
        tenure = consumer.tenure
        ids = await bus.publish(TRACKER, range(20))
        await bus.publish(STEP, range(20))
        async with consumer.running():
            await tenure.until(
                lambda: len(tenure.received[STEP]) == 20 and len(tenure.received[TRACKER]) == 20
            )
        newer = await bus.publish(TRACKER, range(20, 40))
        await bus.do("expire", channel=TRACKER, keep=10)
        async with consumer.running():
            await tenure.until(lambda: len(tenure.received[TRACKER]) == 30)
        assert tenure.refusals == [(TRACKER, str(ids[-1]))]
        assert tenure.received[TRACKER][20:] == newer[-10:]
        assert len(tenure.received[STEP]) == 20


async def test_a_backlog_larger_than_the_buffer_flows_through_it():
    async with cometd_server() as bus:
        consumer = Consumer(bus, IntakeBuffer(100, 100_000))
        for start in range(0, 4_000, 500):
            await bus.publish(TRACKER, range(start, start + 500))
        async with consumer.running():
            await consumer.tenure.until(lambda: len(consumer.tenure.received[TRACKER]) >= 4_000)
            await bus.publish(STEP, range(5))
            await consumer.tenure.until(lambda: len(consumer.tenure.received[STEP]) == 5)
        assert consumer.tenure.received == await bus.ledger()


def last_answer_ms(consumer):
    return consumer.observed.of(PollAnswered)[-1].answer.received_ms


async def test_the_reference_server_answers_a_short_poll_in_time():
    async with cometd_server(timeout=20_000) as bus:
        consumer = Consumer(bus)
        async with consumer.running():
            await bus.publish(TRACKER, range(1))
            await consumer.tenure.until(lambda: len(consumer.tenure.received[TRACKER]) == 1)
            with_events = last_answer_ms(consumer)
            async with asyncio.timeout(5):
                while last_answer_ms(consumer) == with_events:
                    await asyncio.sleep(0.02)
            assert last_answer_ms(consumer) - with_events >= 190
        assert consumer.observed.of(SessionClosed) == []
