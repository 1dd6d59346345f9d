"""A virtual environment of one's own that sees this one: what is installed into it changes only it, and nothing is fetched.

Pip is the real one, without an index: the build backend and the service are there already.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[3]


def make_venv(folder: Path) -> Path:
    """``folder`` with python, pip and the service's command in it; its site-packages."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # First of all .pth files, as what an image has installed comes before what its .pth files add.
    (site / "00_shared.pth").write_text(
        "".join(
            f"import site; site.addsitedir({one!r})\n" for one in (sysconfig.get_path("purelib"), str(ROOT))
        )
    )
    for name, module in (("pip", "pip"), ("cadence-consumer", "consumer")):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m {module} "$@"\n')
        script.chmod(0o755)
    return site


def environment(**more: str) -> dict[str, str]:
    """This process's, without what would lead elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CADENCE_", "PIP_", "PYTHON"))
    }
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**kept, **offline, "NO_COLOR": "1", **more}


def run(command: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A command line as a person types it."""
    if "pip install" in command:
        command += " --no-build-isolation"  # the backend is there; isolation would fetch it
    return subprocess.run(
        command, shell=True, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=100, check=False
    )  # fmt: skip
