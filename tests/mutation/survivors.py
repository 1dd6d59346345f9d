"""The survivors that are known, each with the reason why no test needs to notice it, and the rules that cover whole kinds of them.

A survivor is known by its module, its function and the lines that change, as they look when they are formatted anew: it stays the same
when lines move, comments change or the layout does, and it is another as soon as the code it changes is.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from tests.mutation.trial import Mutant

__all__ = ["known", "noted", "rule_for"]

LISTED = Path(__file__).with_name("survivors.toml")
HEAD = """\
# Mutants that no test notices, and why none needs to; `python -m tests.mutation` compares (see tests/README.md).
# What it finds in addition it adds with --note, without a reason; a list with a reason missing is refused.
"""
SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|PRAGMA|BEGIN|COMMIT|ROLLBACK)\b")


def rule_for(mutant: Mutant) -> str | None:
    """Why nobody notices mutants of its kind; None where it is of no such kind."""
    if len(mutant.was) != 1 or len(mutant.now) != 1:
        return None
    (was,), (now,) = mutant.was, mutant.now
    if was.endswith(" = False") and now == was.removesuffix("False") + "None":
        return "None is as false as False"
    if _told(was) == _told(now) and re.match(r"raise |super\(\)\.__init__\(", was):
        return "the words of an error are for people; tests ask for the facts in it"
    if SQL.search(was) and was.casefold() == now.casefold() and _literals(was) == _literals(now):
        return "SQL reads words in any case"
    return None


def known(*, reasons_needed: bool = True) -> dict[Mutant, str]:
    """Every listed survivor with its reason.

    Raises:
        ValueError: one has none and it is needed, or one stands there twice.
    """
    reasons: dict[Mutant, str] = {}
    for one in tomllib.loads(LISTED.read_text()).get("survivor", ()):
        mutant = Mutant(
            one["module"], one["function"], tuple(one["was"]), tuple(one["now"]), one.get("nth", 1)
        )
        if mutant in reasons:
            raise ValueError(f"{LISTED.name}: stands there twice:\n{mutant}")
        if reasons_needed and not one["why"].strip():
            raise ValueError(f"{LISTED.name}: has no reason:\n{mutant}")
        reasons[mutant] = one["why"]
    return reasons


def noted(reasons: Mapping[Mutant, str], new: Iterable[Mutant]) -> None:
    """Write the list, with those that are new and have no reason yet."""
    entries = {**dict.fromkeys(new, ""), **reasons}
    LISTED.write_text(HEAD + "".join(_entry(key, entries[key]) for key in sorted(entries)))


def _entry(key: Mutant, why: str) -> str:
    nth = f"nth = {key.nth}\n" if key.nth > 1 else ""
    return (
        f'\n[[survivor]]\nmodule = "{key.module}"\nfunction = "{key.function}"\n{nth}'
        f"was = {_texts(key.was)}\nnow = {_texts(key.now)}\nwhy = {_text(why)}\n"
    )


def _texts(lines: tuple[str, ...]) -> str:
    return f"[{', '.join(_text(line) for line in lines)}]"


def _text(line: str) -> str:
    return orjson.dumps(line).decode()  # a string of JSON is one of TOML


def _told(line: str) -> str:
    """A line without what the tool does to words: other case, and XX around them."""
    return line.replace("XX", "").casefold()


def _literals(line: str) -> list[str]:
    """What stands in quotes inside a line of SQL in quotes."""
    return re.findall(r"'[^']*'", line.split('"', 1)[1]) if '"' in line else []
