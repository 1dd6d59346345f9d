"""kill -9 with sinks behind: PostgreSQL, and a flapping webhook receiver that remembers ids, show every effect exactly once."""

import asyncio
import json
import os
import random
import signal
from collections import Counter

import asyncpg
import pytest
import standardwebhooks
from aiohttp import web

from consumer.sandbox import FaultOptions, Sandbox, SandboxOptions
from tests.acceptance.test_kill import journal_of, live
from tests.oracle import compare, expected
from tests.support.processes.service_process import ServiceProcess, settings_for
from tests.support.servers.postgres_server import PostgresServer

ROUNDS = int(os.environ.get("SINK_KILLS", "5"))
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


class Receiver:
    """Notes every id once; of its answers some are lost, late or unwilling, after or before it has noted."""

    def __init__(self, dice):
        self.dice, self.effects, self.deliveries, self.flapping = dice, [], Counter(), True

    async def take(self, request):
        body = await request.read()
        standardwebhooks.Webhook(SECRET).verify(body, dict(request.headers))
        chance = self.dice.random() if self.flapping else 1.0
        if chance < 0.1:
            return web.Response(status=503, headers={"Retry-After": "0"})
        event = json.loads(body)["id"]
        self.deliveries[request.headers["webhook-id"]] += 1
        if self.deliveries[request.headers["webhook-id"]] == 1:
            self.effects.append(event)
        if chance < 0.2:
            request.transport.abort()  # noted, and the answer is lost
        return web.Response(status=500 if chance < 0.3 else 204)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_kills_and_a_flapping_receiver_leave_every_effect_exactly_once(tmp_path):
    dice = random.Random(8)
    receiver = Receiver(dice)
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = PostgresServer()
    server.make()
    server.start()
    path = tmp_path / "cadence.db"
    options = SandboxOptions(seed=8, faults=FaultOptions(reorder=0.08, swap=0.05, duplicate=0.05))
    try:
        async with Sandbox(options) as sandbox:
            environment = settings_for(
                sandbox,
                tmp_path,
                CADENCE_HANDLERS__DB__USE="postgres",
                CADENCE_HANDLERS__DB__START="earliest",
                CADENCE_HANDLERS__DB__SETTINGS__DSN=server.dsn,
                CADENCE_HANDLERS__HOOK__USE="webhook",
                CADENCE_HANDLERS__HOOK__START="earliest",
                CADENCE_HANDLERS__HOOK__MAX_ATTEMPTS="1000",
                CADENCE_HANDLERS__HOOK__SETTINGS__URL=f"http://127.0.0.1:{runner.addresses[0][1]}/hook",
                CADENCE_HANDLERS__HOOK__SETTINGS__SECRETS=SECRET,
            )
            world = asyncio.create_task(live(sandbox))
            for _ in range(ROUNDS):
                before = len(receiver.effects)
                async with ServiceProcess(environment, tmp_path) as service:
                    async with asyncio.timeout(30):
                        while len(receiver.effects) <= before:
                            assert service.process.returncode is None, service.errors()[-3000:]
                            await asyncio.sleep(0.02)
                    await asyncio.sleep(dice.uniform(0, 0.5))
                    service.signal(signal.SIGKILL)
                    await service.ended()
            world.cancel()
            sandbox.settle()
            receiver.flapping = False
            expectation = expected(sandbox.ledger.messages(), sandbox.org.organization_id)
            connection = await asyncpg.connect(server.dsn)
            async with ServiceProcess(environment, tmp_path) as service:
                async with asyncio.timeout(90):
                    while not expectation.ids <= set(receiver.effects) or len(expectation.ids) > (
                        await connection.fetchval("SELECT count(*) FROM cadence.events")
                    ):
                        assert service.process.returncode is None, service.errors()[-3000:]
                        await asyncio.sleep(0.1)
                service.signal(signal.SIGTERM)
                assert await service.ended() == 0, service.errors()[-3000:]
            journal = await journal_of(path)
            assert compare(expectation, journal).ok
            written = [row["id"] for row in await connection.fetch("SELECT id FROM cadence.events")]
            await connection.close()
        told = sorted(event["id"] for event in journal)
        assert sorted(written) == told
        assert sorted(receiver.effects) == told
        again = sum(receiver.deliveries.values()) - len(receiver.effects)
        assert again > 0, "nothing came twice, so it proves nothing"
        print(f"{ROUNDS} kills, {len(told)} events, {again} repeated to the receiver")
    finally:
        server.remove()
        await runner.cleanup()
