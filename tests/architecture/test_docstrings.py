"""First lines of docstrings: short, and beginning with a noun or an imperative verb."""

import ast
import re

import pytest

from tests.architecture.sources import python_files, shown, tree

MOST_CHARACTERS = 80

RELATIVE_AND_INTERROGATIVE = (
    "What Whatever Whether Who Whoever Whose Whom Which When Whenever Where Wherever Why How However"
)
PRONOUNS = """
    I It Its Itself He She We You Your They Their Them These Those This That One Ones
    Everything Everybody Everyone Anything Anybody Anyone Something Somebody Someone Nothing Nobody None Some Several Many Much Most
    Another Others Enough
"""
LINKING = """
    So As If Because Since While Though Although Unless Until Once Than Then There Here And Or But Not Never Only Also Still
    Already Again Of For From To In Into On At By With Without Within Under Up Over After Before Between Beside
"""
STATES_AND_AUXILIARIES = """
    Is Are Was Were Be Been Being Has Have Had Does Did Can Could May Might Must Shall Should Will Would
    Stands Lies Belongs Means Happens Knows Kept Told Asked Called Seen Known Taken Given Asking Going
"""
THIRD_PERSON = """
    Adds Answers Appends Applies Asks Builds Calls Carries Checks Collects Compares Computes Connects Copies Creates Decides Decodes
    Deletes Delivers Describes Encodes Ends Fetches Finds Forgets Gives Goes Handles Hands Holds Implements Installs Keeps Leaves Lets Listens
    Loads Looks Makes Moves Notices Opens Parses Performs Proposes Publishes Puts Raises Reads Reconciles Refuses Remembers Removes Replaces
    Reports Returns Runs Saves Says Sends Serves Sets Settles Shows Sleeps Speaks Starts Stops Stores Takes Tells Throws Tries
    Turns Validates Waits Wakes Walks Watches Works Writes Yields
"""
SPOKEN = "Tell Say Let"
"""Not actions of a program: it notifies, emits, logs or reports, and it waits or continues."""

FORBIDDEN = frozenset(
    word
    for words in (
        RELATIVE_AND_INTERROGATIVE,
        PRONOUNS,
        LINKING,
        STATES_AND_AUXILIARIES,
        THIRD_PERSON,
        SPOKEN,
    )
    for word in words.split()
)
NOUNS = {
    "Answers",
    "Calls",
    "Checks",
    "Ends",
    "Looks",
    "Means",
    "Reports",
    "Returns",
    "Runs",
    "Saves",
    "Sets",
    "Stores",
    "Works",
}
"""Of the above, those that are plurals as well: a docstring may begin with them when no object follows (see :func:`fault`)."""


def fault(line: str) -> str | None:
    """Reason why this first line is not one; None for a good one."""
    if len(line) > MOST_CHARACTERS:
        return f"{len(line)} characters"
    first, _, rest = line.partition(" ")
    word = first.strip("*.,:;")
    if word.removesuffix("'s") not in FORBIDDEN:
        return None
    if word in NOUNS and not re.match(
        r"(a|an|the|its|their|each|every|all|one|it|them|whether|what)\b", rest
    ):
        return None
    return f"begins with {word!r}"


def first_lines():
    for path in python_files("consumer", "handlers"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text is not None:
                    yield f"{shown(path)}:{getattr(node, 'lineno', 1)}", text.partition("\n")[0]


def test_every_docstring_begins_with_a_noun_or_an_imperative_in_at_most_80_characters():
    faults = [f"{where}: {why}: {line}" for where, line in first_lines() if (why := fault(line))]
    assert not faults, "\n".join([f"{len(faults)} first lines", *faults])


@pytest.mark.parametrize(
    "line",
    [
        "Up to when Salesforce's time has come.",
        "What is due.",
        "Whether the run has ended.",
        "It's done.",
        "Returns the position.",
        "Runs the handler.",
        "Keeps states.",
        "x" * 81,
    ],
)
def test_what_reads_as_a_riddle_is_a_fault(line):
    assert fault(line)


@pytest.mark.parametrize(
    "line",
    [
        "Return the position.",
        "Runs whose first event waits for its next attempt.",
        "Read-only token store for diagnostics; still persists a rotated refresh token.",
        "Salesforce time up to which all changes have been received.",
        "``/meta/disconnect`` of the server.",
        "x" * 80,
    ],
)
def test_a_noun_or_an_imperative_is_none(line):
    assert fault(line) is None
