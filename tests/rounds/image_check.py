"""Builds the image and runs it, without a container engine: ``make image-check``, as root on Debian or Ubuntu.

``buildah`` builds the Dockerfile as it is. No registry of images is asked: the base is a Debian with its own Python, made by ``debootstrap``
and given as the build argument that the Dockerfile has for it, and pip installs, with the lock file's hashes, from a folder of wheels that was
filled before. What was built then runs in a chroot and namespaces of its own: as the image's user, with the image's environment, on a root that
is mounted read-only, as process 1.

Not shown: that ``python:3.11-slim-bookworm`` can be pulled, and what an engine adds (its network, cgroups, seccomp, dropped capabilities).
"""

import argparse
import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from consumer.sandbox import Sandbox, SandboxOptions, WorldOptions
from tests.support.processes.service_process import ROOT, free_port
from tests.support.servers.redis_server import RedisServer

TOOLS = ("buildah", "debootstrap", "unshare", "chroot")
EX_UNAVAILABLE = 69
BASE, IMAGE = "localhost/cadence-base", "localhost/cadence-consumer"
USER = 10001


def run(*command: object, **more: Any) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **more
    )
    if done.returncode:
        raise SystemExit(
            f"{shlex.join(str(part) for part in command[:6])} … failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


def said(what: str) -> None:
    print(f"ok  {what}", flush=True)


# ---------------------------------------------------------------- building


class Builder:
    """Makes base and image with a storage of its own in ``folder``; the base is kept for the next time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._buildah = (
            "buildah", "--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "vfs",
        )  # fmt: skip

    def buildah(self, *arguments: object, **more: Any) -> str:
        return run(*self._buildah, *arguments, **more)

    def build(self) -> Path:
        """Build, and return the root of the image's files."""
        self.buildah("rm", "--all")
        self._base()
        bud = ("bud", "--isolation", "chroot", "--format", "docker")
        self.buildah(*bud, "--build-arg", f"BASE={BASE}", "--tag", IMAGE, ".", cwd=ROOT)
        container = self.buildah("from", IMAGE).strip()
        return Path(self.buildah("mount", container).strip())

    def config(self) -> dict[str, Any]:
        """What the image says about how it runs."""
        return json.loads(self.buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]

    def _base(self) -> None:
        system = self.folder / "base"
        if not (system / "usr/bin/python3").exists():
            shutil.rmtree(system, ignore_errors=True)
            packages = "--include=python3,python3-venv,ca-certificates"
            suite = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
            run("debootstrap", "--variant=minbase", packages, suite[1] if suite else "stable", system)
        python = system / "usr/bin/python"
        python.unlink(missing_ok=True)
        python.symlink_to("python3")
        (system / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (system / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        self._wheels(system / "wheels")
        archive = self.folder / "base.tar"
        outside = [f"--exclude=./{name}/*" for name in ("dev", "proc", "sys", "var/cache")]
        run("tar", "-C", system, "-cf", archive, *outside, ".")
        file = self.folder / "Containerfile"
        file.write_text("FROM scratch\nADD base.tar /\n")
        self.buildah(
            "bud", "--isolation", "chroot", "--format", "docker", "--tag", BASE, "--file", file, self.folder
        )

    def _wheels(self, folder: Path) -> None:
        # Whatever Python the base has: every package of the lock, also those that this one would leave out.
        lock = self.folder / "every.lock"
        lock.write_text(re.sub(r" ; .*? (?=\\)", " ", (ROOT / "requirements.lock").read_text()))
        shutil.rmtree(folder, ignore_errors=True)
        pip = (
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--dest",
            folder,
        )
        run(*pip, "--no-deps", "--require-hashes", "--requirement", lock)
        backend = re.search(r'"(hatchling==[^"]+)"', (ROOT / "pyproject.toml").read_text())
        assert backend is not None
        run(*pip, backend[1])


# ---------------------------------------------------------------- running


class Running:
    """A command in the image, as an engine would run it: namespaces, read-only root, the image's user and environment, process 1."""

    def __init__(
        self, root: Path, config: dict[str, Any], command: list[str], log: Path, **environment: str
    ) -> None:
        variables = dict(pair.split("=", 1) for pair in config["Env"]) | environment
        user = config["User"]
        inside = ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), *command]
        begin = f"cd {config['WorkingDir']} && exec {shlex.join(inside)}"
        script = "\n".join((
            "set -e",
            f"mount --bind {root} {root}",
            f"mount -t proc proc {root}/proc",
            f"mount --bind /dev {root}/dev",
            f"mount -o remount,ro,bind {root}",
            f"exec chroot --userspec={user} {root} sh -c {shlex.quote(begin)}",
        ))  # fmt: skip
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    @property
    def first(self) -> int:
        """The process that is number 1 inside, as it is numbered here."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def ended(self, within_s: float = 30) -> int:
        return self.process.wait(within_s)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)


def fact(process: int, name: str) -> list[str]:
    found = re.search(rf"^{name}:\s+(.*)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return found[1].split() if found else []


async def until(condition: Callable[[], Any], what: str, running: Running, within_s: float = 40) -> None:
    deadline = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > deadline or running.process.poll() is not None:
            raise SystemExit(f"not within {within_s} s: {what}\n{running.text()[-4000:]}")
        await asyncio.sleep(0.1)


async def status(port: int, path: str) -> int:
    with suppress(aiohttp.ClientError, TimeoutError):
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status
    return 0


async def check(root: Path, config: dict[str, Any], folder: Path) -> None:
    """Every promise of the image, on the image."""
    entry = [*config["Entrypoint"], *config["Cmd"]]
    org = {
        "CADENCE_SALESFORCE__LOGIN_URL": "https://acme.my.salesforce.com", "CADENCE_SALESFORCE__CLIENT_ID": "id",
        "CADENCE_SALESFORCE__CLIENT_SECRET": "hush",
    }  # fmt: skip
    refusing = Running(root, config, entry, folder / "refusing.log", **org)
    assert refusing.ended() == 2, refusing.text()
    (line,) = refusing.text().splitlines()
    assert line.startswith("store.url: is needed in a container"), line
    said(f"refuses to start without a store, with one line and exit code 2: {line[:72]}…")

    version = Running(
        root,
        config,
        [*config["Entrypoint"], "handlers", "list"],
        folder / "handlers.log",
        **org,
        CADENCE_STORE__URL="redis://localhost:1",
    )
    version.ended()
    assert "webhook" in version.text(), version.text()
    said("finds the built-in handlers that were installed")

    server = RedisServer(folder / "redis")
    server.start()
    try:
        await _serve(root, config, entry, folder, server)
    finally:
        server.stop(signal.SIGKILL)


async def _serve(
    root: Path, config: dict[str, Any], entry: list[str], folder: Path, server: RedisServer
) -> None:
    port = free_port()
    test = config["Healthcheck"]["Test"]
    assert test[0] == "CMD", test
    async with Sandbox(SandboxOptions(world=WorldOptions(events_per_second=50))) as sandbox:
        known = sandbox.credentials
        environment = {
            "CADENCE_SALESFORCE__AUTH": "client_credentials", "CADENCE_SALESFORCE__LOGIN_URL": sandbox.url,
            "CADENCE_SALESFORCE__CLIENT_ID": known.client_id, "CADENCE_SALESFORCE__CLIENT_SECRET": known.client_secret,
            "CADENCE_STORE__URL": server.url, "CADENCE_HTTP__PORT": str(port), "CADENCE_REPLAY__START": "earliest",
        }  # fmt: skip
        service = Running(root, config, entry, folder / "service.log", **environment)
        try:

            async def is_ready() -> bool:
                return await status(port, "/readyz") == 200

            async def is_delivering() -> bool:
                return '"run.enrolled"' in service.text()

            await until(is_ready, "it is ready", service)
            await until(is_delivering, "events are delivered", service)
            said("reads the simulated org, commits to a real Redis and delivers")
            first = service.first
            assert set(fact(first, "Uid")) == set(fact(first, "Gid")) == {str(USER)}, fact(first, "Uid")
            assert fact(first, "NSpid")[-1] == "1"
            name = Path(f"/proc/{first}/cmdline").read_bytes().split(b"\0")[1].decode()
            assert name.endswith("/cadence-consumer"), name
            said(f"the service itself is process 1, as user {USER}")
            mounts = [line.split() for line in Path(f"/proc/{first}/mountinfo").read_text().splitlines()]
            (options,) = [mount[5] for mount in mounts if mount[4] == "/"]
            assert "ro" in options.split(","), options
            assert "Traceback" not in service.text()
            said("on a root that is mounted read-only")

            def health() -> int:
                return Running(
                    root, config, test[1:], folder / "health.log", CADENCE_HTTP__PORT=str(port)
                ).ended()

            assert await asyncio.to_thread(health) == 0, (folder / "health.log").read_text()
            os.kill(first, getattr(signal, config.get("StopSignal", "SIGTERM")))
            assert await asyncio.to_thread(service.ended) == 0, service.text()[-4000:]
            assert '"stopped"' in service.text()
            assert sandbox.status()["clients"] == [], "it said /meta/disconnect"
            said("its stop signal to process 1 ends it in order, with exit code 0")
            assert await asyncio.to_thread(health) == 1
            said("HEALTHCHECK says yes while it runs and no afterwards")
        finally:
            service.kill()


def main() -> int:
    """Build and check; 69 where this machine cannot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path(sys.prefix) / "image", help="keeps base, storage and logs"
    )
    folder = parser.parse_args().folder.resolve()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        print(f"The image can be checked as root on Debian or Ubuntu, with {', '.join(TOOLS)}; missing: {', '.join(missing) or 'root'}", file=sys.stderr)  # fmt: skip
        print("apt-get install --no-install-recommends buildah debootstrap", file=sys.stderr)
        return EX_UNAVAILABLE
    folder.mkdir(parents=True, exist_ok=True)
    builder = Builder(folder)
    root = builder.build()
    config = builder.config()
    said(
        f"buildah builds the Dockerfile: {int(run('du', '-sm', root / 'opt/cadence').split()[0])} MB beside the base"
    )
    logs = folder / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    asyncio.run(check(root, config, logs))
    builder.buildah("rm", "--all")
    print(
        "not shown here: that python:3.11-slim-bookworm can be pulled, and what an engine adds (network, cgroups, seccomp, capabilities)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
