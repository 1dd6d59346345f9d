"""Look-up over REST of fields that the stream does not carry.

These are the run of an unseen step, the target of a run, and the name of a cadence.

Only fields that never change in a record's life are looked up (and names, which are as of the look-up), because an answer is about now and
the change is about then. The stream does not wait long: after :data:`TIMEOUT_MS` without an answer the change is interpreted with what is
known, and nothing is looked up for a while, so that an unreachable REST costs the stream seconds and not hours.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from consumer.clock import Clock
from consumer.domain.objects import RUN, STEP
from consumer.domain.record_ids import canonical_id
from consumer.errors import CadenceError
from consumer.ports.observers.ingest_events import LookupFailed
from consumer.ports.observers.observer import Observer
from consumer.ports.salesforce import RecordSource

__all__ = ["LOOKUP_FIELDS", "RecordLookup"]

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
"""Fields that are asked for, by entity."""
_NUMBERS: Final = frozenset({"DaisyChainIteration", "GoToStepIterationCount"})


class RecordLookup:
    """Look-up that asks for each record once.

    Args:
        source: where rows come from; None looks nothing up.
        clock: for the wait after a failure.
        observer: notified of failures.
    """

    def __init__(self, source: RecordSource | None, clock: Clock, observer: Observer[LookupFailed]) -> None:
        self._source = source
        self._clock = clock
        self._observer = observer
        self._answers: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._not_before_ms = 0
        self.cadence_names: dict[str, str] = {}

    async def fetch(self, entity: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Fields of ``ids``, asked for where they are not known.

        Records that are gone or cannot be fetched are missing.
        """
        wanted = list(dict.fromkeys(ids))
        unknown = [record_id for record_id in wanted if record_id not in self._answers]
        if unknown and self._source is not None and self._clock.monotonic_ms() >= self._not_before_ms:
            await self._fetch_unknown(self._source, entity, unknown)
        return {record_id: self._answers[record_id] for record_id in wanted if self._answers.get(record_id)}

    async def load_cadence_names(self, ids: Iterable[str]) -> None:
        """Add the names of cadences to ``cadence_names``, as far as they can be fetched."""
        unknown = [record_id for record_id in dict.fromkeys(ids) if record_id not in self.cadence_names]
        if unknown:
            for cadence_id, row in (await self.fetch(CADENCE, unknown)).items():
                self.cadence_names[cadence_id] = row.get("Name", "")

    async def _fetch_unknown(self, source: RecordSource, entity: str, ids: list[str]) -> None:
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
            # Only the fields that were asked for: an answer has attributes of its own, which are no fields.
            row = found.get(record_id, {})
            self._answers[record_id] = {
                name: value for name in fields_wanted if (value := _usable(name, row.get(name))) is not None
            }
        while len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)


def _usable(name: str, value: Any) -> Any:
    """The value of a field, if it has the field's type; None otherwise."""
    if name in _NUMBERS:
        return value if type(value) is int else None
    if not isinstance(value, str):
        return None
    if not name.endswith("Id"):
        return value
    try:
        return canonical_id(value)
    except ValueError:
        return None
