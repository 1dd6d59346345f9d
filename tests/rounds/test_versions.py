"""How the interpreters of the declared versions are found, and what a missing one means."""

import sys
from pathlib import Path

import pytest

from tests.rounds import versions
from tests.rounds.versions import declared, interpreter


@pytest.fixture
def fake(tmp_path):
    """Make an executable that says it is a Python of this version, or fails as a pyenv shim does."""

    def make(path: str, version: str | None) -> Path:
        found = tmp_path / path
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_text("#!/bin/sh\n" + ("exit 127\n" if version is None else f"echo {version}\n"))
        found.chmod(0o755)
        return found

    return make


@pytest.fixture
def environ(tmp_path):
    return {"PATH": f"{tmp_path / 'one'}:{tmp_path / 'two'}", "HOME": str(tmp_path / "home")}


def test_declared_are_the_versions_of_the_classifiers_oldest_first():
    assert declared() == ["3.11", "3.12", "3.13"]


def test_the_first_on_path_that_runs_is_taken(fake, environ):
    fake("one/python3.12", None)
    fake("home/.pyenv/versions/3.12.9/bin/python", "3.12")
    second = fake("two/python3.12", "3.12")
    assert interpreter("3.12", environ) == second


def test_a_shim_without_its_version_leads_to_the_newest_of_pyenv(fake, environ):
    fake("one/python3.12", None)
    fake("home/.pyenv/versions/3.12.9/bin/python", "3.12")
    newest = fake("home/.pyenv/versions/3.12.10/bin/python", "3.12")
    fake("home/.pyenv/versions/3.13.1/bin/python", "3.13")
    assert interpreter("3.12", environ) == newest


def test_pyenv_may_be_elsewhere(fake, environ, tmp_path):
    there = fake("pyenv/versions/3.12.1/bin/python", "3.12")
    assert interpreter("3.12", environ) is None
    assert interpreter("3.12", environ | {"PYENV_ROOT": str(tmp_path / "pyenv")}) == there


def test_a_python_of_another_version_is_none(fake, environ):
    fake("one/python3.12", "3.11")
    assert interpreter("3.12", environ) is None


class Made:
    """Environments that were made, and the versions whose tests fail."""

    def __init__(self, *failing: str) -> None:
        self.failing, self.made = failing, []

    def __call__(self, version, base):
        self.version = version
        return self

    def make(self):
        self.made.append(self.version)

    def passes(self):
        return self.version not in self.failing


@pytest.fixture
def ran(monkeypatch, capfd):
    """Run the command where only some versions are installed; its code, the environments made, and what it wrote."""

    def run(installed, *failing, ci=None):
        made = Made(*failing)
        monkeypatch.setattr(versions, "declared", lambda: ["3.1", "3.2", versions.RUNNING])
        monkeypatch.setattr(
            versions, "interpreter", lambda version, _: sys.executable if version in installed else None
        )
        monkeypatch.setattr(versions, "Environment", made)
        monkeypatch.delenv("CI", raising=False)
        if ci:
            monkeypatch.setenv("CI", ci)
        return versions.main(), made.made, capfd.readouterr().err

    return run


def test_every_declared_version_but_the_running_one_is_tested(ran):
    assert ran({"3.1", "3.2", versions.RUNNING}) == (0, ["3.1", "3.2"], "")


def test_a_failure_does_not_keep_the_others_from_being_tested(ran):
    assert ran({"3.1", "3.2"}, "3.1") == (1, ["3.1", "3.2"], "Python 3.1: failed\n")


@pytest.mark.parametrize(("ci", "code"), [(None, 0), ("true", 1)])
def test_a_missing_one_is_left_out_by_name_and_fails_only_in_ci(ran, ci, code):
    assert ran({"3.2"}, ci=ci) == (
        code,
        ["3.2"],
        "Python 3.1: left out, no working interpreter on PATH or in pyenv\n",
    )
