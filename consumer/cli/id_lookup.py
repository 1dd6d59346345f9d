"""From the id that a person has to the id that an action wants.

A run has a target and a current step, a target has runs, a step has a run; whoever holds one of them means a certain other. What has to be
looked up is asked of Salesforce for many at a time. What cannot be told (a target with no run, or with several) is told back instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from consumer.domain.record_ids import RUN_PREFIX, STEP_PREFIX, parse_record_id
from consumer.salesforce.soql import ACTIVE_RUNS, batches, quoted_list

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["IdKind", "QueryClient", "UnresolvedId", "resolve"]

IdKind = Literal["target", "target or run", "run", "step"]


class QueryClient(Protocol):
    """What records are asked of."""

    def query(self, soql: str) -> Awaitable[list[dict[str, Any]]]:
        """Every record that ``soql`` selects."""
        ...


class UnresolvedId(str):
    """Why an id stands for nothing usable: a sentence in the place of an id."""

    __slots__ = ()


async def resolve(rest: QueryClient, texts: Iterable[str], wanted: IdKind) -> dict[str, str | UnresolvedId]:
    """For each text the id that is wanted, or why there is none.

    Args:
        rest: where it is asked.
        texts: 15 or 18 characters, or record URLs.
        wanted: of which kind.

    Raises:
        CadenceError: Salesforce could not be asked.
    """
    found: dict[str, str | UnresolvedId] = {}
    for text in texts:
        try:
            found[text] = parse_record_id(text)
        except ValueError as error:
            found[text] = UnresolvedId(error)
    if wanted == "target or run":
        return found
    ids = dict.fromkeys(record_id for record_id in found.values() if not isinstance(record_id, UnresolvedId))
    resolved = await _resolve_ids(rest, ids, wanted)
    return {
        text: record_id if isinstance(record_id, UnresolvedId) else resolved.get(record_id, record_id)
        for text, record_id in found.items()
    }


async def _resolve_ids(
    rest: QueryClient, ids: Iterable[str], wanted: IdKind
) -> Mapping[str, str | UnresolvedId]:
    """What ids of another kind stand for; ids of the wanted kind are left out."""
    runs = [record_id for record_id in ids if record_id.startswith(RUN_PREFIX)]
    steps = [record_id for record_id in ids if record_id.startswith(STEP_PREFIX)]
    others = [record_id for record_id in ids if not record_id.startswith((RUN_PREFIX, STEP_PREFIX))]
    if wanted == "target":
        return {
            **await _record_fields(rest, "ActionCadenceTracker", runs, "TargetId", "run", "target"),
            **await _record_fields(rest, "ActionCadenceStepTracker", steps, "TargetId", "step", "target"),
        }
    if wanted == "run":
        from_steps = await _record_fields(
            rest, "ActionCadenceStepTracker", steps, "ActionCadenceTrackerId", "step", "run"
        )
        return {**from_steps, **await _active_run_fields(rest, others, "Id")}
    current = await _record_fields(rest, "ActionCadenceTracker", runs, "CurrentStepId", "run", "current step")
    return {**current, **await _active_run_fields(rest, others, "CurrentStepId")}


async def _record_fields(
    rest: QueryClient, entity: str, ids: Sequence[str], field: str, what: str, wanted: str
) -> dict[str, str | UnresolvedId]:
    values: dict[str, str | UnresolvedId] = {
        record_id: UnresolvedId(f"there is no {what} {record_id}, or you may not see it") for record_id in ids
    }
    for batch in batches(ids):
        rows = await rest.query(f"SELECT Id, {field} FROM {entity} WHERE Id IN ({quoted_list(batch)})")  # noqa: S608 - ids
        for row in rows:
            values[row["Id"]] = row[field] or UnresolvedId(f"{what} {row['Id']} has no {wanted}")
    return values


async def _active_run_fields(
    rest: QueryClient, targets: Sequence[str], field: str
) -> dict[str, str | UnresolvedId]:
    """The active run of each target, or something of it."""
    active: dict[str, list[dict[str, Any]]] = {record_id: [] for record_id in targets}
    for batch in batches(targets):
        rows = await rest.query(
            f"SELECT Id, TargetId, CurrentStepId {ACTIVE_RUNS} AND TargetId IN ({quoted_list(batch)})"
        )
        for row in rows:
            active[row["TargetId"]].append(row)
    return {target: _single_run_field(target, rows, field) for target, rows in active.items()}


def _single_run_field(target: str, rows: Sequence[Mapping[str, Any]], field: str) -> str | UnresolvedId:
    if not rows:
        return UnresolvedId(f"{target} is in no cadence now; give a run")
    if len(rows) > 1:
        runs = ", ".join(row["Id"] for row in rows)
        return UnresolvedId(f"{target} is in several cadences; say which run: {runs}")
    return rows[0][field] or UnresolvedId(f"run {rows[0]['Id']} of {target} has no current step")
