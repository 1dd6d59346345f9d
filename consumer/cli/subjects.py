"""From the id that a person has to the id that an action wants.

A run has a target and a current step, a target has runs, a step has a run; whoever holds one of them means a certain other. What has to be
looked up is asked of Salesforce for many at a time. What cannot be told (a target with no run, or with several) is told back instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["Problem", "Queries", "Wanted", "resolve"]

RUN, STEP = "0qB", "8HF"
ASKED = 400
"""Ids of one query: Salesforce takes 16,384 bytes of URL."""

Wanted = Literal["target", "target or run", "run", "step"]


class Queries(Protocol):
    """What records are asked of."""

    def query(self, soql: str) -> Awaitable[list[dict[str, Any]]]:
        """Every record that ``soql`` selects."""
        ...


class Problem(str):
    """Why an id stands for nothing usable: a sentence in the place of an id."""

    __slots__ = ()


async def resolve(rest: Queries, given: Iterable[str], wanted: Wanted) -> dict[str, str | Problem]:
    """For each text the id that is wanted, or why there is none.

    Args:
        rest: where it is asked.
        given: 15 or 18 characters, or record URLs.
        wanted: of which kind.

    Raises:
        CadenceError: Salesforce could not be asked.
    """
    from consumer.ids import as_people_have_it

    found: dict[str, str | Problem] = {}
    for text in given:
        try:
            found[text] = as_people_have_it(text)
        except ValueError as error:
            found[text] = Problem(error)
    if wanted == "target or run":
        return found
    ids = dict.fromkeys(one for one in found.values() if not isinstance(one, Problem))
    meaning = await _meanings(rest, ids, wanted)
    return {text: one if isinstance(one, Problem) else meaning.get(one, one) for text, one in found.items()}


async def _meanings(rest: Queries, ids: Iterable[str], wanted: Wanted) -> Mapping[str, str | Problem]:
    """What ids of another kind stand for; ids of the wanted kind are left out."""
    runs = [one for one in ids if one.startswith(RUN)]
    steps = [one for one in ids if one.startswith(STEP)]
    others = [one for one in ids if not one.startswith((RUN, STEP))]
    if wanted == "target":
        return {
            **await _fields(rest, "ActionCadenceTracker", runs, "TargetId", "run", "target"),
            **await _fields(rest, "ActionCadenceStepTracker", steps, "TargetId", "step", "target"),
        }
    if wanted == "run":
        of_steps = await _fields(
            rest, "ActionCadenceStepTracker", steps, "ActionCadenceTrackerId", "step", "run"
        )
        return {**of_steps, **await _of_targets(rest, others, "Id")}
    current = await _fields(rest, "ActionCadenceTracker", runs, "CurrentStepId", "run", "current step")
    return {**current, **await _of_targets(rest, others, "CurrentStepId")}


async def _fields(
    rest: Queries, entity: str, ids: Sequence[str], field: str, what: str, wanted: str
) -> dict[str, str | Problem]:
    values: dict[str, str | Problem] = {
        one: Problem(f"there is no {what} {one}, or you may not see it") for one in ids
    }
    for start in range(0, len(ids), ASKED):
        some = ids[start : start + ASKED]
        rows = await rest.query(f"SELECT Id, {field} FROM {entity} WHERE Id IN ({_listed(some)})")  # noqa: S608 - ids
        for row in rows:
            values[row["Id"]] = row[field] or Problem(f"{what} {row['Id']} has no {wanted}")
    return values


async def _of_targets(rest: Queries, targets: Sequence[str], field: str) -> dict[str, str | Problem]:
    """The active run of each target, or something of it."""
    active: dict[str, list[dict[str, Any]]] = {one: [] for one in targets}
    for start in range(0, len(targets), ASKED):
        some = targets[start : start + ASKED]
        rows = await rest.query(
            "SELECT Id, TargetId, CurrentStepId FROM ActionCadenceTracker WHERE IsTrackerActive = true "  # noqa: S608 - ids
            f"AND TargetId IN ({_listed(some)})"
        )
        for row in rows:
            active[row["TargetId"]].append(row)
    return {target: _only(target, rows, field) for target, rows in active.items()}


def _only(target: str, rows: Sequence[Mapping[str, Any]], field: str) -> str | Problem:
    if not rows:
        return Problem(f"{target} is in no cadence now; give a run")
    if len(rows) > 1:
        runs = ", ".join(row["Id"] for row in rows)
        return Problem(f"{target} is in several cadences; say which run: {runs}")
    return rows[0][field] or Problem(f"run {rows[0]['Id']} of {target} has no current step")


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(f"'{one}'" for one in ids)
