"""What was measured on: figures mean nothing without it."""

import json
import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.interop.node import node_command, node_modules
from tests.support.servers.redis_server import redis_command


def described() -> str:
    """Processor, cores and memory."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert memory is not None
    name = model[1].strip() if model is not None else os.uname().machine
    return f"{os.cpu_count()} cores of {name} with {int(memory[1]) / 1024 / 1024:.0f} GiB"


def versions() -> dict[str, str]:
    """Of what the service stands on and of what it is compared with."""
    modules = node_modules()
    return {
        **_server(),
        "Node.js": _said(*node_command(), "--version").removeprefix("v"),
        "aiosfstream": version("aiosfstream"),
        **{
            name: json.loads((modules / name / "package.json").read_text())["version"]
            for name in ("cometd", "jsforce")
        },
    }


def _server() -> dict[str, str]:
    said = _said(redis_command(), "--version")
    found = re.search(r"v=(\S+)", said)
    return {"Valkey" if "alkey" in said else "Redis": found[1] if found is not None else said}


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
