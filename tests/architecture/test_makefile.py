"""Targets of the Makefile: all of them are phony, described in one line, and shown by ``make help``."""

import re
import subprocess

from tests.architecture.sources import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
MOST_CHARACTERS = 110
TARGETS = re.findall(r"^([a-z][\w-]*):(?!=)", MAKEFILE, re.MULTILINE)
(PHONY,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)


def help_lines() -> list[str]:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_every_target_is_declared_phony_and_only_those():
    assert len(TARGETS) > 20
    assert sorted(PHONY.replace("\\\n", " ").split()) == sorted(TARGETS)


def test_help_shows_every_target_with_one_line():
    shown = [line.split(maxsplit=1) for line in help_lines()]
    assert [name for name, *_ in shown] == TARGETS
    assert [name for name, *text in shown if not text] == []
    assert [line for line in help_lines() if len(line) > MOST_CHARACTERS] == []


def test_what_runs_a_round_names_a_module_that_exists():
    modules = re.findall(r"python -m (tests[\w.]*)", MAKEFILE)
    assert len(modules) > 10
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_rounds_that_the_pages_name_are_targets():
    folders = (ROOT / name for name in ("consumer", "handlers", "deploy", "tests"))
    pages = [*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]
    named = {target for page in pages for target in re.findall(r"`make ([a-z][\w-]*)", page.read_text())}
    assert named <= set(TARGETS)
