"""What the stream does not say and REST does: the run of a step that was never seen, the target of a run, the name of a cadence.

Only fields that never change in a record's life are looked up (and names, which are as of the look-up), because an answer is about now and
the change is about then. Nobody waits long: after :data:`PATIENCE_MS` without an answer the change is interpreted with what is known, and
the look-up is forgotten for a while, so that an unreachable REST costs the stream seconds and not hours.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from consumer.clock import Clock
from consumer.errors import CadenceError
from consumer.records import RUN, STEP

__all__ = ["FIELDS", "Lookup", "Rows"]

PATIENCE_MS: Final = 5_000
AGAIN_MS: Final = 60_000
REMEMBERED: Final = 50_000
CADENCE: Final = "ActionCadence"

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    RUN: ("ActionCadenceId", "TargetId", "DaisyChainIteration"),
    STEP: (
        "ActionCadenceTrackerId",
        "ActionCadenceId",
        "ActionCadenceStepId",
        "TargetId",
        "StepType",
        "StepTitle",
        "GoToStepIterationCount",
    ),
    CADENCE: ("Name",),
}
"""What is asked for, by entity."""


class Rows(Protocol):
    """Where rows come from."""

    async def rows(self, entity: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Id to fields of those that exist and may be seen.

        Raises:
            CadenceError: they could not be had.
        """
        ...


class Lookup:
    """Asks for each record once.

    Args:
        source: where rows come from; None looks nothing up.
        clock: for patience.
        failed: told why, one line, and how many records it concerned.
    """

    def __init__(self, source: Rows | None, clock: Clock, failed: Callable[[str, int], None]) -> None:
        self._source = source
        self._clock = clock
        self._failed = failed
        self._answers: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._not_before_ms = 0
        self.cadence_names: dict[str, str] = {}

    async def fetch(self, entity: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is known of ``ids`` by now; those that are gone or cannot be had are missing."""
        wanted = list(dict.fromkeys(ids))
        unknown = [one for one in wanted if one not in self._answers]
        if unknown and self._source is not None and self._clock.monotonic_ms() >= self._not_before_ms:
            await self._ask(self._source, entity, unknown)
        return {one: self._answers[one] for one in wanted if self._answers.get(one)}

    async def name_cadences(self, ids: Iterable[str]) -> None:
        """See to it that ``cadence_names`` holds them, as far as they can be had."""
        unknown = [one for one in dict.fromkeys(ids) if one not in self.cadence_names]
        if unknown:
            for cadence_id, row in (await self.fetch(CADENCE, unknown)).items():
                self.cadence_names[cadence_id] = str(row.get("Name") or "")

    async def _ask(self, source: Rows, entity: str, ids: list[str]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_MS / 1000):
                found = await source.rows(entity, ids, FIELDS[entity])
        except (CadenceError, TimeoutError) as error:
            self._not_before_ms = self._clock.monotonic_ms() + AGAIN_MS
            self._failed(str(error) or f"no answer within {PATIENCE_MS // 1000} s", len(ids))
            return
        asked = FIELDS[entity]
        for one in ids:
            # Not more than was asked for: an answer has attributes of its own, which are no fields.
            row = found.get(one, {})
            self._answers[one] = {name: row[name] for name in asked if name in row}
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
