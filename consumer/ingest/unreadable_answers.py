"""Answers that cannot be read at all: truncated, too large, or not JSON.

One is a fault of the transport: the session ends and the next one asks again. Three in a row at the same resume positions are not: the
same messages are delivered each time, whatever the bytes around them, so the last answer is kept as a dead letter and the service is not
ready, while it continues to ask.

A pure class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from consumer.ports.commit import IngestDeadLetter

__all__ = ["QUIET_SESSION_MS", "UnreadableAnswers"]

STUCK_AFTER: Final = 3
"""Number of failures in a row at the same resume positions."""
QUIET_SESSION_MS: Final = 30_000
"""Age of a session whose empty answer shows that nothing unreadable waits: what waits comes with the first polls."""


class UnreadableAnswers:
    """Counter of unreadable answers at the same resume positions."""

    def __init__(self) -> None:
        self._last: tuple[tuple[str, str], ...] | None = None
        self._times = 0
        self.stuck = False

    def failed(
        self, body: bytes, resume: Mapping[str, str], detail: str, at_ms: int
    ) -> IngestDeadLetter | None:
        """Count an unreadable answer.

        The result is the dead letter to keep when it is the third at its positions.

        Args:
            body: the bytes, or their beginning.
            resume: replay option of each channel in the sessions.
            detail: the fault, one line.
            at_ms: wall milliseconds.
        """
        positions = tuple(sorted(resume.items()))
        self._times = self._times + 1 if positions == self._last else 1
        self._last = positions
        if self._times != STUCK_AFTER:
            return None
        self.stuck = True
        channel = " ".join(sorted(resume))
        # The same positions after a restart are the same letter, whatever the bytes are then.
        digest = hashlib.sha256(repr(positions).encode()).hexdigest()[:16]
        return IngestDeadLetter(
            f"{channel}/-/{digest}", channel, None, "unreadable_answer", detail, body, at_ms
        )

    def recovered(self) -> bool:
        """Note an answer that shows that the stream continues.

        The result is True if the input was stuck before.
        """
        was_stuck, self.stuck, self._last, self._times = self.stuck, False, None, 0
        return was_stuck
