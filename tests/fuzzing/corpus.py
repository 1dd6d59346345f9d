"""What a run begins with: samples, what broke something once, and what earlier runs found to take branches of its own.

Kept as one file for each target, an input a line in base64, so that a thousand small inputs are not a thousand files.
"""

import base64
from collections.abc import Iterable
from pathlib import Path

from tests.fuzzing.found import FOUND
from tests.fuzzing.seeds import SEEDS

__all__ = ["known", "remember"]

FOLDER = Path(__file__).parent / "kept"
MOST = 300
"""Inputs of one target that are kept, the shortest."""
LONGEST = 3_000
"""Bytes of one that is kept."""


def known(target: str) -> list[bytes]:
    """Every input to begin with, once."""
    path = FOLDER / f"{target}.txt"
    kept = [base64.b64decode(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = [one.data for one in FOUND if one.target == target]
    return list(dict.fromkeys((*SEEDS[target], *found, *kept)))


def remember(target: str, inputs: Iterable[bytes]) -> None:
    """Keep these besides samples and what broke something, instead of what was kept before."""
    FOLDER.mkdir(exist_ok=True)
    others = {*SEEDS[target], *(one.data for one in FOUND if one.target == target)}
    some = sorted(
        (one for one in set(inputs) - others if len(one) <= LONGEST), key=lambda one: (len(one), one)
    )
    lines = "".join(f"{base64.b64encode(one).decode()}\n" for one in some[:MOST])
    (FOLDER / f"{target}.txt").write_text(lines)
