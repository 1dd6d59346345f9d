"""Epochs of commit numbers.

Within one database instance commit numbers increase. When Salesforce moves an org to another instance they may restart anywhere
(documented: "might not be unique or sequential" after an org migration), and every change since would look late. So a change's place in
the order begins with its epoch.

A new epoch is declared only when, in one channel of one session, the commit number falls far below what that channel had delivered *and*
the org's instance has another name than the epoch has. Neither alone means a migration: redelivery and reordering make numbers fall a
little, and an instance can be renamed. The epoch begins with the second of that change, and a change belongs to the last epoch that does
not begin after its commit second.

A pure class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from consumer.ports import Epoch

__all__ = ["Epochs"]

FAR: Final = 10_000_000_000
"""How far a commit number must fall. Captures show some 6,000 numbers a second, so three days of retention span less than two billion."""


class Epochs:
    """The epochs of one org.

    Args:
        known: as stored, oldest first.
    """

    def __init__(self, known: Sequence[Epoch]) -> None:
        self._epochs = list(known) or [Epoch(0, 0, None)]
        self._greatest: dict[str, int] = {}

    @property
    def all(self) -> list[Epoch]:
        """Oldest first."""
        return list(self._epochs)

    def of(self, commit_ms: int) -> int:
        """Number of the epoch that a change committed at ``commit_ms`` belongs to."""
        for epoch in reversed(self._epochs):
            if epoch.start_ms <= commit_ms:
                return epoch.number
        return 0

    def session_opened(self) -> None:
        """Only what one session delivers is compared."""
        self._greatest.clear()

    def named(self, instance: str | None) -> bool:
        """The org's instance is called so; True when that was not known of the current epoch."""
        last = self._epochs[-1]
        if instance is None or last.instance is not None:
            return False
        self._epochs[-1] = replace(last, instance=instance)
        return True

    def arrived(self, channel: str, commit_number: int, commit_ms: int, instance: str | None) -> bool:
        """A change arrived; True when it begins a new epoch."""
        greatest = self._greatest.get(channel)
        if greatest is None or commit_number > greatest:
            self._greatest[channel] = commit_number
            return False
        last = self._epochs[-1]
        if greatest - commit_number < FAR or instance is None or last.instance in (None, instance):
            return False
        if commit_ms <= last.start_ms:
            return False  # a straggler of before
        self._epochs.append(Epoch(last.number + 1, commit_ms - commit_ms % 1000, instance))
        self._greatest[channel] = commit_number
        return True
