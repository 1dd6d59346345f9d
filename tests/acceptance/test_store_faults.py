"""Every fault of a store, done to a real server or a real file under the running service: noticed, told, over by itself, nothing lost.

``pytest -s`` prints how long each took; the table in deploy/README.md has these figures. In the end of each test the journal is what an oracle
computes from the org's ledger: complete, exactly once, in order.
"""

import asyncio
import itertools
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.processes.connection import Link, connected
from tests.support.processes.service_process import ServiceProcess
from tests.support.servers.redis_server import RedisServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

CEILING_S = 10
"""Promised: a commit that does not get through for so long is told; most faults show themselves at once."""
RECOVERY_S = 20


async def strain(
    link: Link,
    name: str,
    cause: Callable[[], object],
    clear: Callable[[], object],
    *,
    says: str,
    lasts_s: float = 1.0,
) -> None:
    """Break the store of a healthy service, wait until it says so and why, let it last, mend it, wait until it is ready again."""
    await link.healthy()
    began = time.monotonic()
    await asyncio.to_thread(cause)
    at, reasons = await link.until(
        lambda: link.readiness.first(False, began), f"{name}: not ready", CEILING_S
    )
    body = reasons
    deadline = time.monotonic() + CEILING_S
    while says not in str(body):
        assert time.monotonic() < deadline, f"{name}: it says {body}, not {says!r}"
        await asyncio.sleep(0.05)
        body = (await link.service.get("/readyz"))[1]
    await asyncio.sleep(lasts_s)
    await asyncio.to_thread(clear)
    repaired = time.monotonic()
    again, _ = await link.until(
        lambda: link.readiness.now and link.readiness.first(True, repaired),
        f"{name}: ready again",
        RECOVERY_S,
    )
    print(f"{name:<44} noticed {at - began:5.2f} s, again {again - repaired:5.2f} s")


async def test_faults_of_redis(tmp_path):
    server = RedisServer(tmp_path / "redis")
    server.start()
    client = redis.Redis(port=server.port, socket_timeout=2)
    try:
        async with connected(tmp_path / "service", redis=server.url, wire=False) as link:
            link.live()
            await strain(
                link,
                "killed, and started again",
                lambda: server.stop(signal.SIGKILL),
                server.start,
                says="no server listens",
            )
            await strain(link, "stopped in order", server.stop, server.start, says="no server listens")
            await strain(
                link, "does not answer (frozen)",
                lambda: server.process.send_signal(signal.SIGSTOP), lambda: server.process.send_signal(signal.SIGCONT),
                says="imeout",
            )  # fmt: skip
            await strain(
                link, "made a read-only replica",
                lambda: client.replicaof("127.0.0.1", "1"), lambda: client.replicaof("NO", "ONE"),
                says="name the primary",
            )  # fmt: skip
            await strain(
                link, "out of memory",
                lambda: client.config_set("maxmemory", "1mb"), lambda: client.config_set("maxmemory", "0"),
                says="raise maxmemory",
            )  # fmt: skip
            await strain(
                link, "wants a password from now on",
                lambda: (client.config_set("requirepass", "secret"), client.client_kill_filter(_type="normal", skipme=True)),
                lambda: (client.execute_command("AUTH", "secret"), client.config_set("requirepass", "")),
                says="add it to store.url",
            )  # fmt: skip
            assert not link.logged("stopped")
            print(await link.settle(), "events")
    finally:
        client.close()
        server.stop()


async def test_a_redis_that_was_restored_from_an_older_copy_is_read_again(tmp_path):
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        async with connected(tmp_path / "service", redis=server.url, wire=False) as link:
            link.live()
            await asyncio.sleep(2)
            with redis.Redis(port=server.port, socket_timeout=5) as client:
                client.bgrewriteaof()
                while client.info("persistence")["aof_rewrite_in_progress"]:
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(shutil.copytree, server.folder / "appendonlydir", tmp_path / "copy")
            await asyncio.sleep(3)
            had = len(await link.journal())

            def restore() -> None:
                shutil.rmtree(server.folder / "appendonlydir")
                shutil.copytree(tmp_path / "copy", server.folder / "appendonlydir")
                server.start()

            await strain(
                link,
                "gone back in time",
                lambda: server.stop(signal.SIGKILL),
                restore,
                says="no server listens",
            )
            ended = [line["reason"] for line in link.logged("tenure_ended")]
            events = await link.settle(late_per_mille=20)
            assert events >= had
            print(events, "events;", ended)
    finally:
        server.stop()


async def test_a_database_that_another_process_locks(tmp_path):
    async with connected(tmp_path, wire=False) as link:
        link.live()
        other = sqlite3.connect(tmp_path / "cadence.db", isolation_level=None, check_same_thread=False)
        await strain(
            link, "locked by another process",
            lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK"),
            says="another process",
        )  # fmt: skip
        other.close()
        print(await link.settle(), "events")


async def test_a_disk_that_is_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _can_mount(disk):
        pytest.skip("no right to mount a small disk here (unshare --mount)")

    class OnSmallDisk(ServiceProcess):
        """The service in a mount namespace of its own, where its folder is a disk of 3 MB."""

        async def start(self):
            with self.out.open("wb") as out, self.err.open("wb") as err:
                self.process = await asyncio.create_subprocess_exec(
                    "unshare", "--mount", "sh", "-c",
                    f"mount -t tmpfs -o size=3m tmpfs {disk} && exec {sys.executable} -m consumer run",
                    cwd=self.folder, env=self._environment, stdout=out, stderr=err, stdin=asyncio.subprocess.DEVNULL,
                )  # fmt: skip
            return self

    async with connected(
        tmp_path, wire=False, process=OnSmallDisk, CADENCE_STORE__URL=f"sqlite:///{disk / 'cadence.db'}"
    ) as link:
        inside = Path(f"/proc/{link.service.process.pid}/root{disk}")
        copies = itertools.count()

        def copied() -> SqliteStore:
            # SQLite resolves the path that leads into the other namespace, and then does not find it.
            copy = tmp_path / f"copy-{next(copies)}"
            shutil.copytree(inside, copy, ignore=shutil.ignore_patterns("filler", "*.lock"))
            return SqliteStore(copy / "cadence.db", read_only=True)

        link.store = copied
        link.live()
        filler = inside / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    return

        await strain(link, "disk full", fill, filler.unlink, says="free space")
        link.rest()
        await link.caught_up()
        kept = copied()
        with sqlite3.connect(kept._path) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        link.service.signal(signal.SIGTERM)
        assert await link.service.ended() == 0, link.service.errors()[-2000:]


def _can_mount(disk: Path) -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize("damage", ["another kind of file", "pages overwritten"])
async def test_a_damaged_file_is_told_and_a_copy_goes_on(tmp_path, damage):
    async with connected(tmp_path, wire=False) as link:
        link.live()
        await asyncio.sleep(1)
        link.service.signal(signal.SIGTERM)
        assert await link.service.ended() == 0
        path = tmp_path / "cadence.db"
        shutil.copy(path, tmp_path / "copy.db")
        with path.open("r+b") as file:
            if damage == "pages overwritten":
                file.seek(4096)
                file.write(b"\xff" * (path.stat().st_size - 4096))
            else:
                file.write(b"#!/bin/sh\n" * 100)
        began = time.monotonic()
        await link.service.start()
        body: dict = {}
        async with asyncio.timeout(20):
            while "stop the service, restore a copy" not in str(body) and "of another kind" not in str(body):
                body = (await link.service.get("/readyz"))[1]
                await asyncio.sleep(0.05)
        print(f"damaged ({damage}): told after {time.monotonic() - began:.2f} s")
        link.service.signal(signal.SIGTERM)
        assert await link.service.ended() == 0, link.service.errors()[-2000:]
        shutil.copy(tmp_path / "copy.db", path)
        await link.service.start()
        await link.service.ready()
        await link.settle()
