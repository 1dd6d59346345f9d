"""Words that the glossary replaced do not come back: as identifiers, as parts of identifiers, or in docstrings, comments and help texts.

The glossary stands in consumer/README.md. What is stored keeps its names: tables, keys and encoded fields are strings, which are looked at
only where people read them.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.architecture.sources import python_files, shown, tree

_OLD = """
    InCompany carrying_out standing mending letters place Place PlaceStore place_keeper Feed Desk hungry fed _employ _rouse BREATH
    Inbox inbox _put_aside due DueTimers first_is horizon_ms causes Unseen TOLD pages Ready mark Writer Committer landed then know turn take
    allocation Allowances Novel undocumented foreign_json in_form HandlerOrder orders HandlerRequests asked RetriedLetters patience
    patiently PATIENCE_MS AGAIN_MS admission refusal Caller StoreMemory Pace PollPacing Standstill expirer Expirer heard_of_ms may_go is_over
    rows covers tell _overtaken _listed _described explanation examination Tell trouble advised note Repeats may_say story subjects
    trying standing_view _Whereabouts _given weather breakage deliveries Mending Standing OrgExamination Weather Trouble
    loop_turns_again input_flows journal_free retention_passed commits_succeed_again
"""
OLD_NAMES = frozenset(_OLD.split())
"""Names that were replaced by the field's own."""


@dataclass(frozen=True)
class Kept:
    """Standard meaning of a word that was replaced in another one, and the folders in which it has it."""

    why: str
    folders: tuple[str, ...] = ("",)


KEPT = {
    "advised": Kept("Bayeux: advice of a server", ("tests/faults/",)),
    "allocation": Kept("Salesforce's word for the events that an org may be delivered in a day", ("consumer/sandbox/",)),
    "asked": Kept("requests that a scripted server or a test double received, and when", ("tests/", "consumer/sandbox/")),
    "causes": Kept("causes that stop a handler; the module of that name is triggers", ("consumer/delivery/", "tests/unit/delivery/")),
    "deliveries": Kept("deliveries of events to a handler or to a receiver; the module of that name is delivery_quota"),
    "due": Kept("due times of timers and steps, after Salesforce's DueDateTime; the module of that name is timer_watermark"),
    "explanation": Kept("an EventExplanation", ("consumer/cli/why.py",)),
    "Feed": Kept("public API of the test kit for handlers", ("consumer/testing/",)),
    "mark": Kept("pytest.mark, and a mark in a file or on a time axis; what commits a part is touch"),
    "note": Kept("a remark that is shown to people, or a handler that notes events; a signal is notified"),
    "orders": Kept("sequences in which things happen; what an operator asks for is a command", ("tests/simulation/test_loop.py",)),
    "pages": Kept("pages of an answer of REST, of a database file or of memory; the module of that name is fetch"),
    "refusal": Kept("an answer by which a server or a store refuses; a filter's is rejected_by"),
    "rows": Kept("rows of a table or of an answer of REST; the module of that name is row_diff"),
    "story": Kept("a scripted life of a run, in the simulated org and in tests", ("consumer/sandbox/", "tests/")),
    "subjects": Kept("records that an action is about", ("consumer/actions/",)),
    "take": Kept("taking the next event out of a lane or a script"),
    "then": Kept("what a scripted bus does next", ("tests/",)),
}  # fmt: skip

OLD_WORDS = re.compile(
    r"park|parked|parking|patien\w*|hungry|standstills?|inbox(es)?|mend|mends|mended|mending|letters?|settled|unsettled|horizons?"
    r"|whereabouts|standing"
)
"""Words that go, also as one of several in an identifier."""
KEPT_COMPOUNDS = {
    "ascii_letters": "of the standard library",
    "_OPAQUE_LETTERS": "characters of a token",
    "test_a_record_id_is_eighteen_letters_and_digits": "characters of an id",
}
DEAD_LETTER = re.compile(r"dead_?letters?", re.IGNORECASE)
STORY_FOLDERS = ("consumer/sandbox/", "tests/")

OLD_TEXT = re.compile(r"\b(parked|patiently|inbox|standstill|whereabouts|mending)\b", re.IGNORECASE)
STORED = {"consumer/stores/": "table and keys of blocked runs"}
"""Folders whose strings, docstrings aside, hold names of what is stored."""


def words(identifier: str) -> list[str]:
    """Words of an identifier, in snake or camel case."""
    bare = DEAD_LETTER.sub("_", identifier)
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", bare)]


def is_kept(name: str, path: str) -> bool:
    return name in KEPT and path.startswith(KEPT[name].folders)


def is_old(name: str, path: str) -> bool:
    """Whether this identifier, in that file, is one that was replaced, or made of a word that was."""
    if name in KEPT_COMPOUNDS or is_kept(name, path):
        return False
    if name in OLD_NAMES:
        return True
    parts = words(name)
    return any(OLD_WORDS.fullmatch(word) for word in parts) or (
        "story" in parts and not path.startswith(STORY_FOLDERS)
    )


def identifiers(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def texts(source: str, parsed: ast.Module, only_for_people: bool) -> Iterator[tuple[int, str]]:
    """Comments and docstrings with their lines; all other strings too unless ``only_for_people``."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    statements = {id(node.value) for node in ast.walk(parsed) if isinstance(node, ast.Expr)}
    for node in ast.walk(parsed):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and (id(node) in statements or not only_for_people):
            yield node.lineno, node.value


OURS = [path for path in python_files("consumer", "handlers", "tests") if "architecture" not in path.parts]


def test_no_identifier_is_or_contains_a_word_that_was_replaced():
    found: dict[str, list[str]] = {}
    for path in OURS:
        for line, name in identifiers(path.read_text()):
            if is_old(name, shown(path)):
                found.setdefault(name, []).append(f"{shown(path)}:{line}")
    assert not found, "\n".join(
        f"{name}: {len(at)} in {', '.join(at[:3])}" for name, at in sorted(found.items())
    )


def test_no_text_for_people_uses_a_word_that_was_replaced():
    found = []
    for path in OURS:
        only_for_people = shown(path).startswith(("tests/", *STORED))
        for line, text in texts(path.read_text(), tree(path), only_for_people):
            found += [f"{shown(path)}:{line}: {match[0]}" for match in OLD_TEXT.finditer(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_word_was_replaced_in_another_meaning_and_is_used(name):
    assert name in OLD_NAMES
    assert any(
        name == other and is_kept(name, shown(path))
        for path in OURS
        if shown(path).startswith(KEPT[name].folders)
        for _, other in identifiers(path.read_text())
    )


@pytest.mark.parametrize(
    "name", ["parked", "is_parked", "ParkedRun", "_patience", "PatientBuffer", "letters", "put_letter", "settled_through", "Inbox", "whole_story"]
)  # fmt: skip
def test_old_words_are_found_in_every_spelling(name):
    assert is_old(name, "consumer/delivery/cursor.py")


@pytest.mark.parametrize(
    "name", ["dead_letters", "HandlerDeadLetter", "spark", "history", "settings", "recommend"]
)
def test_words_that_only_look_alike_are_not(name):
    assert not is_old(name, "consumer/delivery/cursor.py")
