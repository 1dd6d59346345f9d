"""Rooms of the code, drawn from its imports: ``python -m tests.architecture.rooms`` writes the drawing into consumer/README.md.

A room is a module or a package directly below ``consumer/``, with everything that it contains; ``consumer/__init__.py`` and ``handlers/``
are one room each. An arrow leads from a room to every other room of which a file imports something: at the top of the file, inside a
function or only for type checking. A room without arrows is on floor 1, any other one floor above the highest room that it imports.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.architecture.sources import ROOT, python_files, tree

README = ROOT / "consumer" / "README.md"
SECTION = re.compile(r"<!-- rooms: begin -->\n.*?<!-- rooms: end -->\n", re.DOTALL)
API = "consumer"
"""Name of the room of ``consumer/__init__.py``."""

HOW_COUNTED = """\
Drawn from the imports by `python -m tests.architecture.rooms`; a [test](../tests/architecture/test_rooms.py) compares it. A room is a module
or a package directly below `consumer/`, with all that it contains; `consumer/__init__.py` (here `consumer`) and `handlers/` are one room each.
An arrow leads from a room to every room that a file in it imports from: at the top, inside a function or only for type checking. Floor 1
imports no other room; any other room is one floor above the highest room that it imports. So no arrow points upward, and a cycle between
rooms cannot be drawn. Files do not import each other in a cycle either, imports under `TYPE_CHECKING` aside.
"""


class Cycle(Exception):
    """Rooms or files that import each other, in a circle."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(" -> ".join(path))


@dataclass(frozen=True)
class Import:
    """One file importing another; both by dotted name."""

    importer: str
    imported: str
    is_for_types: bool = False


def files(root: Path = ROOT) -> dict[str, Path]:
    """Dotted name of every file in consumer/ and handlers/."""
    found = {}
    for path in python_files("consumer", "handlers", root=root):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(root: Path = ROOT) -> tuple[Import, ...]:
    """Every import of one of these files by another."""
    return tuple(_imports(files(root)))


def _imports(modules: Mapping[str, Path]) -> Iterator[Import]:
    for name, path in modules.items():
        parsed = tree(path)
        for_types = {
            id(inner)
            for node in ast.walk(parsed)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            for statement in node.body
            for inner in ast.walk(statement)
        }
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(parsed):
            for target in _targets(node, package, modules):
                if target != name:
                    yield Import(name, target, id(node) in for_types)


def _targets(node: ast.AST, package: str, modules: Mapping[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{source}.{alias.name}"
            if inner in modules or source in modules:
                yield inner if inner in modules else source


def room(module: str) -> str:
    """Room of a file."""
    top, _, below = module.partition(".")
    return below.partition(".")[0] if top == "consumer" and below else top


@dataclass(frozen=True)
class House:
    """Every room with the rooms that it imports, and its floor."""

    arrows: Mapping[str, frozenset[str]]
    floors: Mapping[str, int]

    @property
    def figure(self) -> str:
        count = sum(map(len, self.arrows.values()))
        return f"{len(self.arrows)} rooms, {max(self.floors.values())} floors, {count} arrows"


@cache
def house(root: Path = ROOT) -> House:
    """Rooms of the code as it is.

    Raises:
        Cycle: rooms import each other.
    """
    found: dict[str, set[str]] = {room(module): set() for module in files(root)}
    for one in imports(root):
        if room(one.importer) != room(one.imported):
            found[room(one.importer)].add(room(one.imported))
    arrows = {name: frozenset(targets) for name, targets in found.items()}
    return House(arrows, levels(arrows))


def levels(arrows: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """Level of each name: 1 without arrows, else one above the highest that it points to.

    Raises:
        Cycle: a name reaches itself.
    """
    found: dict[str, int] = {}

    def level(name: str, path: tuple[str, ...]) -> int:
        if name in path:
            raise Cycle((*path[path.index(name) :], name))
        if name not in found:
            below = [level(target, (*path, name)) for target in sorted(arrows[name])]
            found[name] = 1 + max(below, default=0)
        return found[name]

    for name in sorted(arrows):
        level(name, ())
    return found


def drawing(drawn: House) -> str:
    """Section of consumer/README.md: how it is counted, the figure, and the rooms floor by floor from the top."""
    rows = [
        f"| {floor} | `{name}` | {', '.join(f'`{target}`' for target in _targets_in_order(drawn, name))} |\n"
        for floor in range(max(drawn.floors.values()), 0, -1)
        for name in sorted(drawn.floors)
        if drawn.floors[name] == floor
    ]
    return "".join((
        "<!-- rooms: begin -->\n",
        HOW_COUNTED,
        f"\n**{drawn.figure}.** The picture leaves out arrows that a longer way implies; the table has them all.\n\n",
        _mermaid(drawn),
        "\n| floor | room | imports |\n|---|---|---|\n",
        *rows,
        "<!-- rooms: end -->\n",
    ))  # fmt: skip


def _targets_in_order(drawn: House, name: str) -> list[str]:
    return sorted(drawn.arrows[name], key=lambda target: (-drawn.floors[target], target))


def _mermaid(drawn: House) -> str:
    lines = ["```mermaid", "flowchart TD"]
    for floor in range(max(drawn.floors.values()), 0, -1):
        rooms = sorted(name for name in drawn.floors if drawn.floors[name] == floor)
        lines.append(f'  subgraph f{floor}["floor {floor}"]')
        lines += [f'    {_node(name)}["{name}"]' for name in rooms]
        lines.append("  end")
    for name in sorted(drawn.arrows):
        lines += [f"  {_node(name)} --> {_node(target)}" for target in _direct(drawn, name)]
    return "\n".join([*lines, "```", ""])


def _node(name: str) -> str:
    return f"r_{name.strip('_')}"


def _direct(drawn: House, name: str) -> list[str]:
    """Imported rooms that no other imported room leads to."""
    implied: set[str] = set()
    for target in drawn.arrows[name]:
        implied |= _reachable(drawn, target)
    return sorted(drawn.arrows[name] - implied)


def _reachable(drawn: House, name: str) -> set[str]:
    found = set(drawn.arrows[name])
    for target in drawn.arrows[name]:
        found |= _reachable(drawn, target)
    return found


def write(readme: Path = README) -> None:
    """Put the drawing between its markers, at the end of a page that has none."""
    page = readme.read_text() if readme.exists() else "# How consumer is built\n\n"
    section = drawing(house())
    found = SECTION.search(page)
    readme.write_text(page.replace(found[0], section) if found else page + section)


if __name__ == "__main__":
    write()
