"""How bad it is: whether something goes wrong now, how long a disk takes, when the next process dies. Never anything, once it is calm."""

import random
from collections import Counter
from collections.abc import Callable

from tests.simulation.store import Deed

_STORE_FAILS = 0.03
_STORE_FAULTS = ("fails", "fails", "stands still", "applied, and said to have failed")
_STEPS_TO_A_KILL = 2_500
_PAUSE_S = 1.5


class Faults:
    """The world's mood.

    Args:
        dice: of the world.
        figures: counts what really happened.
    """

    def __init__(self, dice: random.Random, figures: Counter[str]) -> None:
        self.calm = False
        self._dice = dice
        self._figures = figures
        self._mood = dice.choice((0.2, 1, 1, 2))

    def happens(self, chance: float) -> bool:
        """Whether something does, which has this chance in ordinary weather."""
        return not self.calm and self._dice.random() < chance * self._mood

    def delay_s(self) -> float:
        """How long a thread of a store takes."""
        return 0 if self.calm else self._dice.choice((0, 0, 0, 0.001, 0.01))

    def fault(self, deed: Deed) -> str | None:
        """What goes wrong with what a store is asked."""
        if not self.happens(_STORE_FAILS):
            return None
        what = self._dice.choice(_STORE_FAULTS)
        if deed.name == "acquire" and what.startswith("applied"):
            what = "fails"
        self._figures[f"store {what}"] += 1
        return what

    def pause_s(self) -> float:
        """Until the next thing happens."""
        return self._dice.expovariate(self._mood / _PAUSE_S)

    def steps_to_a_kill(self) -> int:
        """So many steps of the loop from now, somebody dies."""
        return int(self._dice.expovariate(1 / _STEPS_TO_A_KILL) / self._mood) + 1

    def one_of(self, weights: dict[str, int]) -> str:
        """Something of all that can happen."""
        (what,) = self._dice.choices(list(weights), list(weights.values()))
        return what


Trace = Callable[[str, Callable[[], str]], None]
"""Writes the story down: who, and what; the second is only asked when somebody reads it."""
