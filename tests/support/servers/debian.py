"""Tools that exist only as Debian packages, without installing them: ``python -m tests.support.servers.debian`` fetches what is missing.

``promtool`` and ``prometheus`` are in no registry of Python or Node. Where the machine has them they are used; else the package is downloaded
with ``apt-get`` and unpacked into the virtual environment, which starts no daemon and needs no more than to be allowed to run ``apt-get
download``. Where that cannot be done the tests that need the tool are skipped and say so; what can be checked without it is checked always.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

UNPACKED = Path(sys.prefix) / "debian"
PACKAGES = {"promtool": "prometheus", "prometheus": "prometheus"}
"""Tool to package."""


def find(tool: str) -> str | None:
    """Where it is, or None."""
    return shutil.which(tool) or shutil.which(tool, path=str(UNPACKED / "usr" / "bin"))


def needed(tool: str) -> str:
    """Where it is; skips the test, with words, where it is not."""
    found = find(tool)
    if found is None:
        pytest.skip(
            f"{tool} is not on this machine and could not be fetched: apt-get install {PACKAGES[tool]}"
        )
    return found


def fetch(package: str) -> str:
    """Download and unpack a package; why not, in words, or nothing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "this machine has no apt-get"
    with tempfile.TemporaryDirectory() as folder:
        for command in (("update",), ("download", package)):
            done = subprocess.run(
                ["apt-get", "-qq", "-o", "APT::Sandbox::User=", *command],
                cwd=folder, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            # Lists that cannot be renewed may be good enough.
            if done.returncode and command[0] == "download":
                return (done.stderr.strip().splitlines() or ["apt-get download failed"])[-1]
        (archive,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, UNPACKED], check=True, timeout=300)
    return ""


def main() -> None:
    """Fetch what is missing; say what could not be had, and never fail."""
    for package in sorted({PACKAGES[tool] for tool in PACKAGES if find(tool) is None}):
        try:
            why = fetch(package)
        except (OSError, subprocess.SubprocessError) as error:
            why = str(error)
        if why:
            print(f"Without Debian's {package} some tests of deploy/ are skipped: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
