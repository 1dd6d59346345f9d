"""Clients that nobody here wrote agree with the sandbox: npm ``cometd`` and ``jsforce``."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from consumer.sandbox import ALL_CHANGES, Sandbox, SandboxOptions
from tests.interop.node import HERE, node_command, node_environment

CHANNELS = [ALL_CHANGES, "/data/ActionCadenceTrackerChangeEvent"]
DEADLINE = 30
CLIENTS = {"cometd": "cometd-client.mjs", "jsforce": "jsforce-client.cjs"}


class Client:
    """A Node process that reports what its streaming client sees."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    async def sees(self, what: str, **expected: Any) -> dict[str, Any]:
        """The next report of a kind whose message has these values; events on the way are kept."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            while line := await self.process.stdout.readline():
                report = json.loads(line)
                if report["what"] == "event":
                    self.events.append(report["message"])
                if report["what"] == what and expected.items() <= report["message"].items():
                    found: dict[str, Any] = report["message"]
                    return found
        raise AssertionError(f"the client ended without reporting {what} {expected}")

    async def gets(self, count: int) -> list[dict[str, Any]]:
        """All events so far, once there are this many."""
        while len(self.events) < count:
            await self.sees("event")
        return self.events


@asynccontextmanager
async def started(
    name: str, sandbox: Sandbox, channel: str, replay: int, token: str = ""
) -> AsyncIterator[Client]:
    url = f"{sandbox.url}/cometd/66.0/" if name == "cometd" else sandbox.url
    argument = {"url": url, "token": token or sandbox.access_token(), "channel": channel, "replay": replay}
    environment = await asyncio.to_thread(node_environment)
    process = await asyncio.create_subprocess_exec(
        *node_command(),
        str(HERE / CLIENTS[name]),
        json.dumps(argument),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=4 * 1024 * 1024,
        env=environment,
    )
    try:
        yield Client(process)
    finally:
        process.kill()
        await process.communicate()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxOptions(seed=11)) as running:
        yield running


@pytest.fixture(params=sorted(CLIENTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_client_replaying_everything_gets_exactly_the_ledger(
    sandbox: Sandbox, name: str, channel: str
) -> None:
    sandbox.world.advance(150)
    async with started(name, sandbox, channel, -2) as client:
        await client.sees("subscribe", successful=True)
        sandbox.world.advance(50)
        expected = sandbox.ledger.messages(channel=channel)
        got = await client.gets(len(expected))
    assert [each["data"] for each in got] == [each["data"] for each in expected]


async def test_a_client_at_the_tip_gets_only_what_comes_after(sandbox: Sandbox, name: str) -> None:
    sandbox.world.advance(50)
    before = sandbox.ledger.replay_ids()[-1]
    async with started(name, sandbox, ALL_CHANGES, -1) as client:
        await client.sees("subscribe", successful=True)
        sandbox.world.advance(40)
        expected = sandbox.ledger.messages(channel=ALL_CHANGES, after=before)
        got = await client.gets(len(expected))
    assert [each["data"] for each in got] == [each["data"] for each in expected]


async def test_a_client_resuming_in_the_middle_gets_exactly_what_follows(sandbox: Sandbox, name: str) -> None:
    sandbox.world.advance(100)
    middle = sandbox.ledger.replay_ids()[len(sandbox.ledger) // 2]
    async with started(name, sandbox, ALL_CHANGES, middle) as client:
        await client.sees("subscribe", successful=True)
        expected = sandbox.ledger.messages(channel=ALL_CHANGES, after=middle)
        got = await client.gets(len(expected))
    assert [each["data"] for each in got] == [each["data"] for each in expected]


async def test_a_client_with_an_expired_replay_id_reads_salesforces_refusal(
    sandbox: Sandbox, name: str
) -> None:
    sandbox.world.advance(20)
    stale = sandbox.ledger.replay_ids()[0]
    sandbox.faults.inject("expire")
    async with started(name, sandbox, ALL_CHANGES, stale) as client:
        reply = await client.sees("subscribe", successful=False)
    assert reply["error"] == (
        f"400::The replayId {{{stale}}} you provided was invalid.  "
        "Please provide a valid ID, -2 to replay all events, or -1 to replay only new events."
    )


async def test_a_forgotten_client_shakes_hands_again_and_loses_nothing(sandbox: Sandbox, name: str) -> None:
    sandbox.world.advance(30)
    async with started(name, sandbox, ALL_CHANGES, -2) as client:
        await client.sees("handshake", successful=True)
        await client.gets(len(sandbox.ledger))
        sandbox.faults.inject("drop_session")
        refusal = await client.sees("connect", successful=False)
        assert refusal["error"] == "403::Unknown client"
        assert refusal["advice"]["reconnect"] == "handshake"
        sandbox.world.advance(30)
        await client.sees("handshake", successful=True)
        await client.sees("subscribe", successful=True)
        sandbox.world.advance(30)
        got = await client.gets(len(sandbox.ledger))
    assert [each["data"]["event"]["replayId"] for each in got] == sandbox.ledger.replay_ids()
    assert sandbox.faults.counters["drop_session"] == 1


async def test_a_revoked_token_ends_the_stream_and_is_refused_a_handshake(
    sandbox: Sandbox, name: str
) -> None:
    token = sandbox.access_token()
    async with started(name, sandbox, ALL_CHANGES, -1, token) as client:
        await client.sees("subscribe", successful=True)
        sandbox.faults.inject("revoke")
        refusal = await client.sees("connect", successful=False)
        assert refusal["error"] == "401::Authentication invalid"
        assert refusal["advice"]["reconnect"] == "none"
    async with started(name, sandbox, ALL_CHANGES, -1, token) as client:
        refusal = await client.sees("handshake", successful=False)
    assert refusal["error"] == "403::Handshake denied"
    assert refusal["ext"]["sfdc"]["failureReason"] == "401::Authentication invalid"
