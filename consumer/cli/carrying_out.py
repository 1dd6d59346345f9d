"""One command of ``actions`` from its words to its exit code: read the inputs, find what their ids mean, act, tell.

An input is an id, given with the command or on a line of a file, or a JSON object with Salesforce's names on such a line; what the options
say holds for every input that does not say otherwise. Whatever is wrong with one input is told with that input and keeps no other back.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from consumer.cli.failures import ExitCode, fail
from consumer.cli.options import read_settings
from consumer.cli.output import json_line, say, table
from consumer.cli.subjects import Problem, Wanted, resolve

if TYPE_CHECKING:
    from consumer.action_results import ActionResult
    from consumer.actions import ActionInput, AssignTarget
    from consumer.salesforce.actions import SalesforceActions
    from consumer.salesforce.rest import RestClient

__all__ = ["How", "carry_out"]

Results = list["ActionResult[Any]"]


@dataclass(frozen=True)
class How:
    """What every command of the group takes beside its own options."""

    ids: Sequence[str] | None
    source: Path | None
    config: Path | None
    dry_run: bool
    json: bool


@dataclass(frozen=True)
class _Outcome:
    results: Results
    calls: int
    broke: str | None = None


def carry_out(
    kind: type[ActionInput],
    how: How,
    subject: Mapping[Wanted, str] | None,
    shared: Mapping[str, Any],
    *,
    guard: bool = True,
) -> None:
    """Perform an action and tell what became of every input.

    Args:
        kind: of the inputs.
        how: ids, file, configuration, output.
        subject: what an id is to stand for, and the input's name for it; None where the id itself says (a run or a target).
        shared: what all inputs have in common, by Salesforce's names; None is left out.
        guard: whether double enrolments are looked for.

    Raises:
        typer.Exit: an input failed (1), Salesforce is unavailable (69), there are no inputs (2).
        CadenceError: nothing could be asked.
    """
    import asyncio

    given = [*(how.ids or []), *_lines(how.source)]
    if not given:
        raise fail("no inputs: give ids, or --from FILE", ExitCode.USAGE)
    outcome = asyncio.run(_perform(kind, how, given, subject, shared, guard=guard))
    _show(given, outcome.results, how)
    count, done = len(given), sum(one.succeeded for one in outcome.results)
    if how.dry_run:
        say(f"nothing was changed; {done} of {count} would be sent")
    else:
        say(
            f"{done} of {count} succeeded, in {outcome.calls} call{'s' if outcome.calls != 1 else ''} to Salesforce"
        )
    if outcome.broke is not None:
        raise fail(outcome.broke, ExitCode.UNAVAILABLE)
    if done < count:
        raise typer.Exit(ExitCode.FAILED)


def _lines(source: Path | None) -> list[str]:
    if source is None:
        return []
    try:
        text = sys.stdin.read() if str(source) == "-" else source.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"--from {source} cannot be read: {error}", ExitCode.USAGE) from None
    return [stripped for line in text.splitlines() if (stripped := line.strip())]


async def _perform(
    kind: type[ActionInput],
    how: How,
    given: Sequence[str],
    subject: Mapping[Wanted, str] | None,
    shared: Mapping[str, Any],
    *,
    guard: bool,
) -> _Outcome:
    import structlog

    from consumer.acting import Actions
    from consumer.action_results import ActionCallFailed
    from consumer.app import open_rest
    from consumer.telemetry.logging import Redactor, configure_logging

    settings = read_settings(how.config, connects=True)
    # The results are told; the log lines that a handler leaves would say it twice.
    configure_logging("error", settings.log.format, Redactor(settings.secrets()))
    async with open_rest(settings) as (rest, performer):
        rows = await _rows(rest, given, subject, shared)
        actions = Actions(_Rehearsal(performer) if how.dry_run else performer, structlog.get_logger("cli"))
        wanted = [row for row in rows if isinstance(row, dict)]
        broke = None
        try:
            performed = iter(await actions.call(kind, wanted, guard=guard))
        except ActionCallFailed as failed:
            performed, broke = iter(failed.results), str(failed)
        results = [next(performed) if isinstance(row, dict) else row for row in rows]
        return _Outcome(results, performer.calls, broke)


class _Rehearsal:
    """A performer that looks and does not send: what would be sent counts as done."""

    def __init__(self, performer: SalesforceActions) -> None:
        self._performer = performer

    async def perform(self, inputs: Sequence[Any], *, client: str) -> Results:
        from consumer.action_results import ActionResult, ActionStatus

        del client
        return [ActionResult(one, ActionStatus.SUCCEEDED) for one in inputs]

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        return await self._performer.active_runs(inputs)

    async def is_active(self, tracker_id: str) -> bool:
        return await self._performer.is_active(tracker_id)


async def _rows(
    rest: RestClient,
    given: Sequence[str],
    subject: Mapping[Wanted, str] | None,
    shared: Mapping[str, Any],
) -> list[dict[str, Any] | ActionResult[Any]]:
    """An input for each line, or the result that says why there is none."""
    common = {name: value for name, value in shared.items() if value is not None}
    wanted, name = next(iter(subject.items())) if subject else ("target or run", "")
    meaning = await resolve(rest, (line for line in given if not line.startswith("{")), wanted)
    rows: list[dict[str, Any] | ActionResult[Any]] = []
    for line in given:
        if line.startswith("{"):
            rows.append(_object(line, common))
            continue
        found = meaning[line]
        if isinstance(found, Problem):
            rows.append(_refused(line, found))
        else:
            role = name or ("actionCadenceTrackerId" if found.startswith("0qB") else "targetId")
            rows.append({**common, role: str(found)})
    return rows


def _object(line: str, common: Mapping[str, Any]) -> dict[str, Any] | ActionResult[Any]:
    import orjson

    try:
        return {**common, **orjson.loads(line)}
    except orjson.JSONDecodeError as error:
        return _refused(line, f"the line is not JSON: {error}")


def _refused(line: str, why: str) -> ActionResult[Any]:
    from consumer.action_results import ActionError, ActionResult, ActionStatus

    error = ActionError(status_code="INVALID_INPUT", message=str(why))
    return ActionResult({"given": line}, ActionStatus.REFUSED, (error,))


def _show(given: Sequence[str], results: Results, how: How) -> None:
    if how.json:
        for line, one in zip(given, results, strict=True):
            told = one.to_json()
            if how.dry_run and one.succeeded:
                told |= {"status": "would be sent", "succeeded": None}
            json_line({"given": line, **told})
        return
    rows = [
        (
            line,
            one.subject,
            "would be sent" if how.dry_run and one.succeeded else one.status.value,
            one.why or _template(one),
        )
        for line, one in zip(given, results, strict=True)
    ]
    table(("given", "id", "result", ""), rows)


def _template(one: ActionResult[Any]) -> str:
    template = one.template
    if template is None:
        return ""
    share = "" if template.split_percentage is None else f", {template.split_percentage:g} % of its variants"
    return f"template {template.template_id}{share}"
