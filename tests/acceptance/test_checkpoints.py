"""Positions in people's hands: kept, shown, moved, carried to another store; the running service follows."""

import asyncio
import json
import signal

import pytest

from consumer.sandbox import Sandbox, SandboxOptions
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.processes.service_process import ServiceProcess, settings_for


async def command(environment, folder, *words, code=0):
    async with ServiceProcess(environment, folder, *words) as process:
        assert await process.ended() == code, process.errors()
        return process.out.read_text(), process.errors()


@pytest.mark.long
async def test_a_position_is_saved_moved_back_and_carried_to_another_store(tmp_path):
    async with Sandbox(SandboxOptions()) as sandbox:
        environment = settings_for(sandbox, tmp_path)
        store = SqliteStore(tmp_path / "cadence.db")
        async with ServiceProcess(environment, tmp_path) as service:
            await service.ready()
            await store.open()

            async def enrolled(count):
                async with asyncio.timeout(20):
                    while True:
                        entries = await store.read(0, 1_000)
                        if sum(entry.type == "run.enrolled" for entry in entries) >= count:
                            return entries
                        await asyncio.sleep(0.1)

            for _ in range(3):
                sandbox.world.enrol()
            await enrolled(3)
            _, told = await command(environment, tmp_path, "checkpoint", "save", "early")
            assert "saved as early" in told
            for _ in range(3):
                sandbox.world.enrol()
            before = await enrolled(6)
            token = (await store.lease()).number

            _, told = await command(environment, tmp_path, "checkpoint", "set", "--name", "early")
            assert "nothing was changed" in told
            assert (await store.lease()).number >= token
            _, told = await command(environment, tmp_path, "checkpoint", "set", "--name", "early", "--yes")
            assert "moved" in told

            async with asyncio.timeout(20):
                while service.errors().count('"tenure_began"') < 2:
                    await asyncio.sleep(0.1)
            await service.ready()
            sandbox.world.enrol()
            after = await enrolled(7)
            assert [entry.id for entry in after[: len(before)]] == [entry.id for entry in before]
            assert len({entry.id for entry in after}) == len(after), "what was journaled stays recognised"
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0
        await store.aclose()

        out, _ = await command(environment, tmp_path, "checkpoint", "history", "--json")
        assert any(json.loads(line).get("name") == "early" for line in out.splitlines())
        await command(environment, tmp_path, "checkpoint", "export", str(tmp_path / "positions.json"))
        (tmp_path / "other").mkdir()
        elsewhere = settings_for(sandbox, tmp_path / "other")
        await command(elsewhere, tmp_path, "checkpoint", "import", str(tmp_path / "positions.json"), "--yes")
        here, _ = await command(environment, tmp_path, "checkpoint", "show", "--json")
        there, _ = await command(elsewhere, tmp_path, "checkpoint", "show", "--json")

        def positions(text):
            return {line["channel"]: line["position"] for line in map(json.loads, text.splitlines())}

        assert positions(here) == positions(there)
        assert all(positions(here).values())


async def test_a_checkpoint_that_does_not_exist_is_named(tmp_path):
    async with Sandbox(SandboxOptions()) as sandbox:
        environment = settings_for(sandbox, tmp_path)
        async with ServiceProcess(environment, tmp_path) as service:
            await service.ready()
            service.signal(signal.SIGTERM)
            await service.ended()
        _, told = await command(environment, tmp_path, "checkpoint", "set", "--name", "x", "--yes", code=1)
        assert told == "there is no checkpoint x; saved checkpoints: none\n"
        _, told = await command(
            environment, tmp_path, "checkpoint", "set", "--position", "7", "--yes", code=2
        )
        assert told == "--position needs --channel: a replay id belongs to one channel\n"
