"""Epochs of commit numbers.

Within one database instance commit numbers increase. When Salesforce moves an org to another instance, they may restart anywhere
(documented: "might not be unique or sequential" after an org migration), and every change since would look late. So a change's place in
the order begins with its epoch.

A new epoch is declared only when a commit number falls far below the greatest that has arrived *and* the org's instance has another name
than the epoch has. Neither alone means a migration: redelivery, reordering and several channels make numbers fall a little, and an instance
can be renamed. The greatest number is remembered across channels, sessions and restarts, since an org can move while the service is down,
and a channel may have been silent before. A change whose number is far below that greatest one belongs to the new epoch, whenever it
arrives; any other one by its commit second.

A pure class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from consumer.ports.commit import Epoch

__all__ = ["Epochs"]

RESTART_DISTANCE: Final = 10_000_000_000
"""Distance by which a commit number must fall. Captures show some 6,000 a second: three days of retention span less than two billion."""


class Epochs:
    """Epochs of one org.

    Args:
        known: stored epochs, oldest first.
    """

    def __init__(self, known: Sequence[Epoch]) -> None:
        self._epochs = list(known) or [Epoch(0, 0, None)]
        self._greatest_commit_number: int | None = None

    @property
    def all(self) -> list[Epoch]:
        """All epochs, oldest first."""
        return list(self._epochs)

    def epoch_of(self, commit_number: int, commit_ms: int) -> int:
        """Number of the epoch that a change belongs to.

        Its commit number decides first: the first change of a new epoch that a channel delivers need not be the earliest.
        """
        for epoch in reversed(self._epochs):
            if epoch.fell_from - commit_number >= RESTART_DISTANCE or epoch.start_ms <= commit_ms:
                return epoch.number
        return 0

    @property
    def greatest_commit_number(self) -> int | None:
        """Greatest commit number that has arrived."""
        return self._greatest_commit_number

    def restore_greatest(self, commit_number: int | None) -> None:
        """Take a stored commit number, which had arrived before."""
        if commit_number is not None and (
            self._greatest_commit_number is None or commit_number > self._greatest_commit_number
        ):
            self._greatest_commit_number = commit_number

    def learn_instance(self, instance: str | None) -> bool:
        """Take the name of the org's instance; True when the current epoch had none."""
        last = self._epochs[-1]
        if instance is None or last.instance is not None:
            return False
        self._epochs[-1] = replace(last, instance=instance)
        return True

    def observe(self, commit_number: int, commit_ms: int, instance: str | None) -> bool:
        """Note the arrival of a change; True when it begins a new epoch."""
        greatest_commit_number = self._greatest_commit_number
        if greatest_commit_number is None or commit_number > greatest_commit_number:
            self._greatest_commit_number = commit_number
            return False
        last = self._epochs[-1]
        if (
            greatest_commit_number - commit_number < RESTART_DISTANCE
            or instance is None
            or last.instance in (None, instance)
        ):
            return False
        if commit_ms <= last.start_ms:
            return False  # a straggler of the epoch before
        self._epochs.append(
            Epoch(last.number + 1, commit_ms - commit_ms % 1000, instance, greatest_commit_number)
        )
        self._greatest_commit_number = commit_number
        return True
