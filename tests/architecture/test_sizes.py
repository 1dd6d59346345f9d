"""Bounds on the length of files and classes: what outgrows them has two reasons to be there."""

import ast

import pytest

from tests.architecture.sources import ROOT, python_files, shown, tree

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_CLASS = 350
SUBSCRIPTION_LINES = 300
README_BYTES = 12 * 1024

LONG_FILES = {
    "consumer/plugin.py": "public handler API with its documentation, to be read in one piece",
}
"""Files above the bound, each with its reason."""


def lines(path):
    return len(path.read_text().splitlines())


def test_no_file_is_longer_than_400_lines_without_a_reason():
    long = {
        shown(path): lines(path)
        for path in python_files("consumer", "handlers")
        if lines(path) > MOST_LINES_OF_A_FILE and shown(path) not in LONG_FILES
    }
    assert long == {}


@pytest.mark.parametrize("name", LONG_FILES)
def test_what_has_a_reason_needs_it(name):
    assert lines(ROOT / name) > MOST_LINES_OF_A_FILE, "the line in LONG_FILES can go"


def test_no_class_is_longer_than_350_lines_and_subscription_is_below_300():
    long = {}
    for path in python_files("consumer", "handlers"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                assert node.end_lineno is not None
                length = node.end_lineno - node.lineno + 1
                bound = SUBSCRIPTION_LINES - 1 if node.name == "Subscription" else MOST_LINES_OF_A_CLASS
                if length > bound:
                    long[f"{shown(path)}:{node.name}"] = length
    assert long == {}


def test_the_root_readme_is_read_in_one_sitting():
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES
