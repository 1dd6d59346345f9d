"""A rolling checksum of order and completeness: one chain a run, folded as soon as a repetition of the world is over."""

import hashlib
from dataclasses import dataclass, field

__all__ = ["Checksum", "Sum", "folded"]

KEPT = 12
"""Repetitions of which events may still come when the next begins; runs go side by side, at most a window of 10,000 events apart."""


@dataclass(frozen=True)
class Sum:
    """Of a repetition, or of a part of one.

    Attributes:
        repetition: which.
        events: how many there were.
        digest: of the chains of its runs, whatever their order among each other.
    """

    repetition: int
    events: int
    digest: str


@dataclass
class _Chain:
    link: bytes = b""
    events: int = 0


@dataclass
class Checksum:
    """Of many runs, of whom only those of the newest repetitions are remembered.

    Attributes:
        events: how many were added.
    """

    events: int = 0
    _open: dict[int, dict[str, _Chain]] = field(default_factory=dict)

    def add(self, repetition: int, run: str, what: str) -> None:
        """One event of a run, in its order.

        Args:
            repetition: of the world.
            run: one of its runs, called the same in every repetition.
            what: the event, called the same in every repetition.
        """
        self.events += 1
        chain = self._open.setdefault(repetition, {}).setdefault(run, _Chain())
        chain.link = hashlib.blake2b(chain.link + what.encode(), digest_size=16).digest()
        chain.events += 1

    def fold(self) -> list[Sum]:
        """Those of repetitions that are over, which are forgotten: what comes of them from now on makes a second sum."""
        over = [one for one in sorted(self._open) if one < max(self._open) - KEPT]
        return [self._sum(one, self._open.pop(one)) for one in over]

    def sums(self) -> list[Sum]:
        """Those of repetitions that are remembered, as far as they are."""
        return [self._sum(one, self._open[one]) for one in sorted(self._open)]

    @staticmethod
    def _sum(repetition: int, runs: dict[str, _Chain]) -> Sum:
        return Sum(
            repetition,
            sum(chain.events for chain in runs.values()),
            folded({run: chain.link for run, chain in runs.items()}),
        )


def folded(links: dict[str, bytes]) -> str:
    """One digest of the last links of many chains."""
    whole = hashlib.blake2b(digest_size=16)
    for run in sorted(links):
        whole.update(run.encode() + b"\0" + links[run])
    return whole.hexdigest()
