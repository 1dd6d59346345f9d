"""Bounds of the import graph, and its drawing in consumer/README.md."""

from pathlib import Path

import pytest

from tests.architecture.rooms import README, SECTION, Cycle, drawing, files, house, imports, levels, room

MOST_ROOMS, MOST_FLOORS = 31, 11


def test_there_are_at_most_31_rooms_on_11_floors():
    drawn = house()
    assert len(drawn.arrows) <= MOST_ROOMS, sorted(drawn.arrows)
    assert max(drawn.floors.values()) <= MOST_FLOORS, drawn.floors


def test_no_arrow_points_upward():
    drawn = house()
    upward = [
        (name, target)
        for name, targets in drawn.arrows.items()
        for target in targets
        if drawn.floors[target] >= drawn.floors[name]
    ]
    assert upward == []


def test_no_files_import_each_other_in_a_cycle():
    """Nor for a function's sake; imports under TYPE_CHECKING do not run and are left out."""
    arrows: dict[str, set[str]] = {name: set() for name in files()}
    for one in imports():
        if not one.is_for_types:
            arrows[one.importer].add(one.imported)
    levels({name: frozenset(targets) for name, targets in arrows.items()})


def test_the_drawing_in_the_readme_is_that_of_the_code():
    """After a change: ``python -m tests.architecture.rooms``."""
    (section,) = SECTION.findall(README.read_text())
    assert section == drawing(house())


# ---------------------------------------------------------------- the counting


@pytest.fixture
def tree(tmp_path):
    def write(**sources: str) -> Path:
        for name, source in sources.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        for folder in {path.parent for path in tmp_path.rglob("*.py")}:
            (folder / "__init__.py").touch()
        return tmp_path

    return write


def test_a_room_is_what_lies_directly_below_consumer():
    assert room("consumer.app") == "app"
    assert room("consumer.ingest.states.cache") == "ingest"
    assert room("consumer") == "consumer"
    assert room("handlers.kafka") == "handlers"


def test_imports_of_every_kind_are_arrows(tree):
    root = tree(
        consumer__a="from consumer.b import x\n",
        consumer__b="def late():\n    import consumer.c.d\n",
        consumer__c__d="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from consumer import e\n",
        consumer__c__f="from . import d\nfrom ..e import z\n",
        consumer__e="",
    )
    drawn = house(root)
    assert {name: set(targets) for name, targets in drawn.arrows.items()} == {
        "consumer": set(), "a": {"b"}, "b": {"c"}, "c": {"e"}, "e": set(),
    }  # fmt: skip
    assert dict(drawn.floors) == {"consumer": 1, "e": 1, "c": 2, "b": 3, "a": 4}
    assert drawn.figure == "5 rooms, 4 floors, 3 arrows"
    assert [one.is_for_types for one in imports(root) if one.importer == "consumer.c.d"] == [True]


def test_a_cycle_is_named(tree):
    root = tree(
        consumer__a="import consumer.b\n",
        consumer__b="import consumer.c\n",
        consumer__c="import consumer.a\n",
    )
    with pytest.raises(Cycle, match="a -> b -> c -> a"):
        house(root)


def test_the_picture_leaves_out_implied_arrows_and_the_table_does_not(tree):
    root = tree(consumer__a="from consumer import b, c\n", consumer__b="import consumer.c\n", consumer__c="")
    text = drawing(house(root))
    assert "r_a --> r_b" in text
    assert "r_a --> r_c" not in text
    assert "| 3 | `a` | `b`, `c` |\n" in text
