"""Answers that cannot be read at all: truncated, or no JSON.

One is a fault of the transport: the session ends and the next one asks again. The same bytes three times in a row at the same positions are
not: no retry will help, so they are kept as a dead letter and the service is not ready, while it continues to ask.

A pure class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from consumer.ports.commit import IngestDeadLetter

__all__ = ["UnreadableAnswers"]

STUCK_AFTER: Final = 3
"""Number of identical failures in a row."""


class UnreadableAnswers:
    """Counter of identical unreadable answers."""

    def __init__(self) -> None:
        self._last: tuple[str, tuple[tuple[str, str], ...]] | None = None
        self._times = 0
        self.stuck = False

    def failed(
        self, body: bytes, resume: Mapping[str, str], detail: str, at_ms: int
    ) -> IngestDeadLetter | None:
        """Count an unreadable answer.

        The result is the dead letter to keep when it is the third of its kind.

        Args:
            body: the exact bytes.
            resume: replay option of each channel in the sessions.
            detail: the fault, one line.
            at_ms: wall milliseconds.
        """
        digest = hashlib.sha256(body).hexdigest()[:16]
        current = (digest, tuple(sorted(resume.items())))
        self._times = self._times + 1 if current == self._last else 1
        self._last = current
        if self._times != STUCK_AFTER:
            return None
        self.stuck = True
        channel = " ".join(sorted(resume))
        return IngestDeadLetter(
            f"{channel}/-/{digest}", channel, None, "unreadable_answer", detail, body, at_ms
        )

    def recovered(self) -> bool:
        """Note an answer with messages that could be read.

        The result is True if the input was stuck before.
        """
        was_stuck, self.stuck, self._last, self._times = self.stuck, False, None, 0
        return was_stuck
