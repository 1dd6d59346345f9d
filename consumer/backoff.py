"""Backoff that grows with each failure: one rule for every place that tries again.

Pure: the number of failures and the jitter are arguments, and the answer is a number of whole milliseconds. Who waits, on which clock, and
who is notified of it is the business of the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]

MAX_GROWTH_STEPS = 40
"""Growth ends here even where the cap is never reached, or a number would grow for ever."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with a cap and jitter.

    The jitter lies between two multiples of the full wait.

    Attributes:
        base_ms: full wait after the first failure.
        cap_ms: upper limit of every wait, whatever the jitter.
        factor: growth of the full wait with each further failure.
        shortest: least wait, as a multiple of the full one. 0.5 keeps half of it, 0.0 is full jitter, by which many clients do not
            come back together.
        longest: greatest wait, as a multiple of the full one. Above 1.0 where the full wait is the least that helps.
    """

    base_ms: int
    cap_ms: int
    factor: int = 2
    shortest: float = 1.0
    longest: float = 1.0

    def delay_ms(self, failures: int, jitter: float = 0.0) -> int:
        """Milliseconds to wait after ``failures`` failures in a row.

        Args:
            failures: in a row, counting from 1.
            jitter: in [0, 1): 0 is the longest wait, and the shortest is approached as it grows.
        """
        full_ms = min(self.cap_ms, self.base_ms * self.factor ** min(failures - 1, MAX_GROWTH_STEPS))
        longest_ms = int(full_ms * self.longest)
        return min(self.cap_ms, longest_ms - int((longest_ms - full_ms * self.shortest) * jitter))
