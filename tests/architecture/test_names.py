"""One name, one thing: modules and public classes are found by their name alone."""

import ast
from collections import defaultdict
from pathlib import Path

from tests.architecture.sources import ROOT, python_files, shown, tree

CONSUMER = ROOT / "consumer"


def repeated(named: list[tuple[str, Path]]) -> dict[str, list[str]]:
    by_name = defaultdict(list)
    for name, path in named:
        by_name[name].append(shown(path))
    return {name: paths for name, paths in by_name.items() if len(paths) > 1}


def test_no_module_name_exists_twice_in_consumer():
    """Packages aside: a port is named after the package that it is for. Commands have the names that are typed; the simulated org has those
    of the real one."""
    apart = {"cli", "sandbox"}
    named = [
        (path.stem, path)
        for path in python_files("consumer")
        if path.name != "__init__.py" and path.relative_to(CONSUMER).parts[0] not in apart
    ]
    assert repeated(named) == {}


def test_no_public_class_name_exists_twice_in_consumer():
    named = [
        (node.name, path)
        for path in python_files("consumer")
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert repeated(named) == {}
