"""What the stream does not say and REST does: the run of a step that was never seen, the target of a run, the name of a cadence.

Only fields that never change in a record's life are looked up (and names, which are as of the look-up), because an answer is about now and
the change is about then. Nobody waits long: after :data:`TIMEOUT_MS` without an answer the change is interpreted with what is known, and
the look-up is forgotten for a while, so that an unreachable REST costs the stream seconds and not hours.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from consumer.clock import Clock
from consumer.domain.objects import RUN, STEP
from consumer.errors import CadenceError
from consumer.ports.observers.ingest_events import LookupFailed
from consumer.ports.observers.observer import Observer

__all__ = ["LOOKUP_FIELDS", "RecordLookup", "RowSource"]

TIMEOUT_MS: Final = 5_000
RETRY_AFTER_MS: Final = 60_000
MAX_REMEMBERED: Final = 50_000
CADENCE: Final = "ActionCadence"

LOOKUP_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
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


class RowSource(Protocol):
    """Where rows come from."""

    async def rows(self, entity: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Id to fields of those that exist and may be seen.

        Raises:
            CadenceError: they could not be had.
        """
        ...


class RecordLookup:
    """Asks for each record once.

    Args:
        source: where rows come from; None looks nothing up.
        clock: for patience.
        observer: notified of look-ups that failed.
    """

    def __init__(self, source: RowSource | None, clock: Clock, observer: Observer[LookupFailed]) -> None:
        self._source = source
        self._clock = clock
        self._observer = observer
        self._answers: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._not_before_ms = 0
        self.cadence_names: dict[str, str] = {}

    async def fetch(self, entity: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is known of ``ids`` by now; those that are gone or cannot be had are missing."""
        wanted = list(dict.fromkeys(ids))
        unknown = [record_id for record_id in wanted if record_id not in self._answers]
        if unknown and self._source is not None and self._clock.monotonic_ms() >= self._not_before_ms:
            await self._fetch_unknown(self._source, entity, unknown)
        return {record_id: self._answers[record_id] for record_id in wanted if self._answers.get(record_id)}

    async def load_cadence_names(self, ids: Iterable[str]) -> None:
        """See to it that ``cadence_names`` holds them, as far as they can be had."""
        unknown = [record_id for record_id in dict.fromkeys(ids) if record_id not in self.cadence_names]
        if unknown:
            for cadence_id, row in (await self.fetch(CADENCE, unknown)).items():
                self.cadence_names[cadence_id] = str(row.get("Name") or "")

    async def _fetch_unknown(self, source: RowSource, entity: str, ids: list[str]) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_MS / 1000):
                found = await source.rows(entity, ids, LOOKUP_FIELDS[entity])
        except (CadenceError, TimeoutError) as error:
            self._not_before_ms = self._clock.monotonic_ms() + RETRY_AFTER_MS
            failure = str(error) or f"no answer within {TIMEOUT_MS // 1000} s"
            self._observer.observe(LookupFailed(failure, len(ids)))
            return
        fields_wanted = LOOKUP_FIELDS[entity]
        for record_id in ids:
            # Not more than was asked for: an answer has attributes of its own, which are no fields.
            row = found.get(record_id, {})
            self._answers[record_id] = {name: row[name] for name in fields_wanted if name in row}
        while len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)
