"""Look-up of the id that an action needs from the id that the user has.

A run has a target and a current step, a target has runs, a step has a run, so that the id of one selects another. Look-ups query Salesforce
for many ids at a time. An id that selects no record, or several (a target with several runs), resolves to an error message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from consumer.domain.record_ids import RUN_PREFIX, STEP_PREFIX, parse_record_id
from consumer.domain.soql import ACTIVE_RUNS, batches, quoted_list

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["IdKind", "QueryClient", "UnresolvedId", "resolve"]

IdKind = Literal["target", "target or run", "run", "step"]


class QueryClient(Protocol):
    """A client that runs SOQL queries."""

    def query(self, soql: str) -> Awaitable[list[dict[str, Any]]]:
        """Return every record that ``soql`` selects."""
        ...


class UnresolvedId(str):
    """An error message in the place of an id that cannot be resolved."""

    __slots__ = ()


async def resolve(rest: QueryClient, texts: Iterable[str], kind: IdKind) -> dict[str, str | UnresolvedId]:
    """Resolve each text to an id of the requested kind, or to an error message.

    Args:
        rest: client for look-ups.
        texts: ids of 15 or 18 characters, or record URLs.
        kind: requested kind of record.

    Raises:
        CadenceError: a look-up failed.
    """
    parsed: dict[str, str | UnresolvedId] = {}
    for text in texts:
        try:
            parsed[text] = parse_record_id(text)
        except ValueError as error:
            parsed[text] = UnresolvedId(error)
    if kind == "target or run":
        return parsed
    ids = dict.fromkeys(record_id for record_id in parsed.values() if not isinstance(record_id, UnresolvedId))
    resolved = await _resolve_ids(rest, ids, kind)
    return {
        text: record_id if isinstance(record_id, UnresolvedId) else resolved.get(record_id, record_id)
        for text, record_id in parsed.items()
    }


async def _resolve_ids(
    rest: QueryClient, ids: Iterable[str], kind: IdKind
) -> Mapping[str, str | UnresolvedId]:
    """Resolve ids of other kinds; ids of the requested kind are left out."""
    runs = [record_id for record_id in ids if record_id.startswith(RUN_PREFIX)]
    steps = [record_id for record_id in ids if record_id.startswith(STEP_PREFIX)]
    others = [record_id for record_id in ids if not record_id.startswith((RUN_PREFIX, STEP_PREFIX))]
    if kind == "target":
        return {
            **await _record_fields(rest, "ActionCadenceTracker", runs, "TargetId", "run", "target"),
            **await _record_fields(rest, "ActionCadenceStepTracker", steps, "TargetId", "step", "target"),
        }
    if kind == "run":
        from_steps = await _record_fields(
            rest, "ActionCadenceStepTracker", steps, "ActionCadenceTrackerId", "step", "run"
        )
        return {**from_steps, **await _active_run_fields(rest, others, "Id")}
    current = await _record_fields(rest, "ActionCadenceTracker", runs, "CurrentStepId", "run", "current step")
    return {**current, **await _active_run_fields(rest, others, "CurrentStepId")}


async def _record_fields(
    rest: QueryClient, entity: str, ids: Sequence[str], field: str, noun: str, field_noun: str
) -> dict[str, str | UnresolvedId]:
    values: dict[str, str | UnresolvedId] = {
        record_id: UnresolvedId(f"{noun} {record_id} does not exist, or is not visible to the signed-in user")
        for record_id in ids
    }
    for batch in batches(ids):
        rows = await rest.query(f"SELECT Id, {field} FROM {entity} WHERE Id IN ({quoted_list(batch)})")  # noqa: S608 - ids
        for row in rows:
            values[row["Id"]] = row[field] or UnresolvedId(f"{noun} {row['Id']} has no {field_noun}")
    return values


async def _active_run_fields(
    rest: QueryClient, targets: Sequence[str], field: str
) -> dict[str, str | UnresolvedId]:
    """Look up a field of the active run of each target."""
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
        return UnresolvedId(f"{target} is in no cadence at present; give the id of a run")
    if len(rows) > 1:
        runs = ", ".join(row["Id"] for row in rows)
        return UnresolvedId(f"{target} is in several cadences; give the id of one of its runs: {runs}")
    return rows[0][field] or UnresolvedId(f"run {rows[0]['Id']} of {target} has no current step")
