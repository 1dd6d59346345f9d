"""Where tests lie: unit tests mirror the modules, and what tests share lies in tests/support."""

import pytest

from tests.architecture.sources import ROOT, python_files

UNIT = ROOT / "tests" / "unit"

WHOLE_PACKAGE = {
    "cli/test_commands.py": "what all commands have in common: help, exit codes, problems, signals",
    "cli/test_handling.py": "commands that ask something of handlers",
    "cli/test_reading.py": "commands that look into the store",
    "salesforce/test_auth.py": "sign-in: grants, token endpoint, token cache and stored refresh tokens together",
    "delivery/test_handler_not_running.py": "handlers that cannot open or do not end a call: state machine, invocation, subscription",
    "handlers/test_sink_faults.py": "every sink, with a fault at each call of what it writes to",
    "salesforce/test_foreign_answers.py": "answers that Salesforce should not give: REST, sign-in and stream together",
    "sandbox/test_faults_on_the_wire.py": "what a client sees of the simulated org's faults",
}
"""Unit tests about several modules of a package, each with its subject."""

AT_THE_TOP = {"__init__.py", "conftest.py", "mutants.py", "promises.py"}


def module_of(test):
    """Path of the module, or of the package, that a unit test is named after; of built-in handlers they lie in handlers/."""
    folder = test.relative_to(UNIT).parent
    base = ROOT if folder.parts[:1] == ("handlers",) else ROOT / "consumer"
    name = test.stem.removeprefix("test_")
    return base / folder.parent / name if folder.name == name else base / folder / name


def test_unit_tests_are_named_after_a_module():
    """``tests/unit/stores/test_x.py`` is about ``consumer/stores/x.py`` or the package ``consumer/stores/x/``; a package's own name, as in
    ``tests/unit/settings/test_settings.py``, stands for the package."""
    strangers = []
    for path in python_files("tests/unit"):
        name = path.relative_to(UNIT).as_posix()
        if path.name.startswith("test_") and name not in WHOLE_PACKAGE:
            module = module_of(path)
            if not (module.with_suffix(".py").exists() or module.is_dir()):
                strangers.append(name)
    assert strangers == []


@pytest.mark.parametrize("name", WHOLE_PACKAGE)
def test_what_is_about_a_whole_package_exists_and_is_named_after_no_module(name):
    assert (UNIT / name).exists()
    assert not module_of(UNIT / name).with_suffix(".py").exists()


def test_no_helper_lies_at_the_top_of_tests():
    assert {path.name for path in (ROOT / "tests").glob("*.py")} == AT_THE_TOP
