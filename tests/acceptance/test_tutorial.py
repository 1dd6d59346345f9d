"""The handlers' page shows the way to a package of one's own: its files and commands are executed, up to the first event delivered."""

import asyncio
import re
import shutil
import signal
import sysconfig
from pathlib import Path

import pytest
from aiohttp import web

from consumer.sandbox import Sandbox, SandboxOptions, WorldOptions
from tests.acceptance.test_kill import live
from tests.support.builders.readme import HANDLERS
from tests.support.processes.own_venv import environment, make_venv, run
from tests.support.processes.service_process import settings_for


def section() -> str:
    return HANDLERS.read_text().split("## A handler as a package\n")[1].split("\n## ")[0]


def files() -> dict[str, str]:
    """Name to text of every block that begins with a file's name."""
    blocks = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", section(), re.DOTALL)
    return dict(blocks)


def commands() -> list[str]:
    return re.findall(r"^\$ (.*)$", section(), re.MULTILINE)


class Room:
    """The chat that the handler writes to: busy at first, so that its first words have to be said again."""

    def __init__(self) -> None:
        self.said: list[dict[str, str]] = []
        self.busy = 2

    async def take(self, request: web.Request) -> web.Response:
        message = await request.json()
        if self.busy:
            self.busy -= 1
            return web.Response(status=503)
        self.said.append(message)
        return web.Response()


@pytest.fixture
async def room():
    room = Room()
    app = web.Application()
    app.router.add_post("/hook", room.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    room.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield room
    await runner.cleanup()


@pytest.mark.long
async def test_the_package_of_the_page_gets_its_first_event_by_the_commands_of_the_page(tmp_path, room):
    make_venv(tmp_path / ".venv")
    for name, text in files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    install, check, serve = commands()
    options = SandboxOptions(seed=5, world=WorldOptions())
    async with Sandbox(options) as sandbox:
        connection = settings_for(sandbox, tmp_path, CADENCE_HTTP__PORT="0")

        before = await asyncio.to_thread(run, check, tmp_path, **connection)
        assert before.returncode == 2
        assert "handlers.chat.use: no handler is called 'chat'" in " ".join(before.stderr.split())

        installed = await asyncio.to_thread(run, install, tmp_path)
        assert installed.returncode == 0, installed.stderr
        assert "Successfully installed cadence-chat-1.0" in installed.stdout

        checked = await asyncio.to_thread(run, check, tmp_path, **connection)
        assert checked.returncode == 0, checked.stderr
        assert "chat: chat, 6 event types" in checked.stdout, checked.stdout

        wrong = {**connection, "CADENCE_HANDLERS__CHAT__SETTINGS__URL": "nowhere"}
        told = await asyncio.to_thread(run, check, tmp_path, **wrong)
        assert told.returncode == 2
        assert told.stderr.startswith("handlers.chat.settings.url: ")

        there = {
            **connection,
            "CADENCE_HANDLERS__CHAT__SETTINGS__URL": room.url,
            "CADENCE_HANDLERS__CHAT__START": "earliest",
        }
        world = asyncio.create_task(live(sandbox))
        with (tmp_path / "log").open("wb") as log:
            service = await asyncio.create_subprocess_shell(
                f"exec {serve}", cwd=tmp_path, env=environment(**there), stderr=log, stdout=log
            )
        try:
            async with asyncio.timeout(60):
                while not room.said:
                    assert service.returncode is None, (tmp_path / "log").read_text()[-3000:]
                    await asyncio.sleep(0.05)
            service.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(service.wait(), 30) == 0
        finally:
            world.cancel()
            if service.returncode is None:
                service.kill()
                await service.wait()
    assert room.busy == 0, "the first words were said again until they were heard"
    assert re.fullmatch(r".+: run\.ended\.\w+ -> http.+/0qB\w{15}", room.said[0]["text"]), room.said[0]
    assert not (Path(sysconfig.get_path("purelib")) / "cadence_chat.py").exists(), (
        "this environment is as it was"
    )
    assert shutil.which("cadence-chat") is None
