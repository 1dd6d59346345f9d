"""Quick tests on every declared Python but the running one: ``python -m tests.rounds.versions`` (``make versions``).

Declared is what pyproject's classifiers name. An interpreter is looked for on PATH and among those of pyenv, and one that only claims to
be there (a pyenv shim without its version) is passed over. Each version gets a virtual environment of its own (``.venv-3.12``) from the
lock files and runs unit tests, properties and contracts; the suite as a whole runs on the Python of ``.venv``.

A version without an interpreter is left out, by name. Where ``CI`` is set that is a failure, after the others were tested: install one, for
example with ``pyenv install 3.12``, or do not declare the version.
"""

import hashlib
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUICK = ("tests/unit", "tests/properties", "tests/contracts")
LOCKS = ("requirements.lock", "tests/requirements.lock")
CLASSIFIER = re.compile(r"Programming Language :: Python :: (3\.\d+)")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def declared(pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """Minor versions that the package claims to support, oldest first."""
    classifiers = tomllib.loads(pyproject.read_text())["project"]["classifiers"]
    found = [match[1] for line in classifiers if (match := CLASSIFIER.fullmatch(line))]
    return sorted(found, key=lambda version: int(version.partition(".")[2]))


def interpreter(version: str, environ: Mapping[str, str]) -> Path | None:
    """First interpreter of that version which runs: from PATH, then from pyenv, its newest first."""
    return next((path for path in _candidates(version, environ) if _runs(path, version)), None)


def _candidates(version: str, environ: Mapping[str, str]) -> Iterator[Path]:
    for folder in environ.get("PATH", "").split(os.pathsep):
        if folder:
            yield Path(folder, f"python{version}")
    pyenv = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME", "/"), ".pyenv"))
    patches = (pyenv / "versions").glob(f"{version}.*/bin/python")
    yield from sorted(patches, key=_patch, reverse=True)


def _patch(python: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", python.parents[1].name))


def _runs(path: Path, version: str) -> bool:
    """Whether it starts, is that version, and can make a virtual environment."""
    program = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


@dataclass(frozen=True)
class Environment:
    """Virtual environment of one version, made from the lock files and made again when they change."""

    version: str
    base: Path

    @property
    def folder(self) -> Path:
        return ROOT / f".venv-{self.version}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def make(self) -> None:
        """Install what is not installed yet: anew after a change of the lock files, the package alone after one of pyproject."""
        dependencies = self._digest(*LOCKS)
        if not self._is_stamped("dependencies", dependencies):
            # Without pip of its own: Debian packages ensurepip apart, and the pip of the running Python installs into any other.
            subprocess.run([self.base, "-m", "venv", "--clear", "--without-pip", self.folder], check=True)
            self._pip("--require-hashes", *(word for lock in LOCKS for word in ("-r", lock)))
            self._stamp("dependencies", dependencies)
        package = self._digest("pyproject.toml")
        if not self._is_stamped("package", package):
            self._pip("--no-deps", "--editable", ".")
            self._stamp("package", package)

    def _digest(self, *files: str) -> str:
        digest = hashlib.sha256(str(self.base).encode())
        for name in files:
            digest.update((ROOT / name).read_bytes())
        return digest.hexdigest()

    def _is_stamped(self, name: str, digest: str) -> bool:
        stamp = self.folder / f".{name}"
        return self.python.exists() and stamp.exists() and stamp.read_text() == digest

    def _stamp(self, name: str, digest: str) -> None:
        (self.folder / f".{name}").write_text(digest)

    def _pip(self, *arguments: str) -> None:
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", *arguments], cwd=ROOT, check=True)

    def passes(self) -> bool:
        command = [self.python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *QUICK]
        return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    failed, missing = [], []
    for version in declared():
        if version == RUNNING:
            print(f"Python {version}: the running one; `make tests` runs the whole suite on it", flush=True)
            continue
        base = interpreter(version, os.environ)
        if base is None:
            missing.append(version)
            continue
        print(f"Python {version}: {base}", flush=True)
        environment = Environment(version, base)
        environment.make()
        began = time.monotonic()
        if not environment.passes():
            failed.append(version)
        print(f"Python {version}: {time.monotonic() - began:.0f} s", flush=True)
    for version in missing:
        print(f"Python {version}: left out, no working interpreter on PATH or in pyenv", file=sys.stderr)
    for version in failed:
        print(f"Python {version}: failed", file=sys.stderr)
    return 1 if failed or (missing and os.environ.get("CI")) else 0


if __name__ == "__main__":
    sys.exit(main())
