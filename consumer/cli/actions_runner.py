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

from consumer.cli.command_frame import run_with_rest
from consumer.cli.error_reporting import fail
from consumer.cli.id_lookup import IdKind, UnresolvedId, resolve
from consumer.cli.render.output import print_json, print_message, table
from consumer.domain.record_ids import RUN_PREFIX
from consumer.process import ExitCode

if TYPE_CHECKING:
    from consumer.actions.inputs import ActionInput, AssignTarget
    from consumer.actions.results import ActionResult
    from consumer.salesforce.action_sender import RestActionSender
    from consumer.salesforce.rest import RestClient
    from consumer.settings import Settings

__all__ = ["CommonOptions", "run_action"]

Results = list["ActionResult[Any]"]
Rows = list["dict[str, Any] | ActionResult[Any]"]


@dataclass(frozen=True)
class CommonOptions:
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
    failure: str | None = None


def run_action(
    kind: type[ActionInput],
    common_options: CommonOptions,
    subject: Mapping[IdKind, str] | None,
    shared_values: Mapping[str, Any],
    *,
    guard: bool = True,
) -> None:
    """Perform an action and tell what became of every input.

    Args:
        kind: of the inputs.
        common_options: ids, file, configuration, output.
        subject: what an id is to stand for, and the input's name for it; None where the id itself says (a run or a target).
        shared_values: what all inputs have in common, by Salesforce's names; None is left out.
        guard: whether double enrolments are looked for.

    Raises:
        typer.Exit: an input failed (1), Salesforce is unavailable (69), there are no inputs (2).
        CadenceError: nothing could be asked.
    """
    raw_inputs = [*(common_options.ids or []), *_lines(common_options.source)]
    if not raw_inputs:
        raise fail("no inputs: give ids, or --from FILE", ExitCode.USAGE)

    async def perform(settings: Settings, rest: RestClient, action_sender: RestActionSender) -> _Outcome:
        _hush(settings)
        rows = await _rows(rest, raw_inputs, subject, shared_values)
        sender = _DryRunPerformer(action_sender) if common_options.dry_run else action_sender
        results, failure = await _call(sender, kind, rows, guard=guard)
        return _Outcome(results, action_sender.calls, failure)

    outcome = run_with_rest(common_options.config, perform)
    _show(raw_inputs, outcome.results, common_options)
    count, done = len(raw_inputs), sum(item.succeeded for item in outcome.results)
    if common_options.dry_run:
        print_message(f"nothing was changed; {done} of {count} would be sent")
    else:
        print_message(
            f"{done} of {count} succeeded, in {outcome.calls} call{'s' if outcome.calls != 1 else ''} to Salesforce"
        )
    if outcome.failure is not None:
        raise fail(outcome.failure, ExitCode.UNAVAILABLE)
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


def _hush(settings: Settings) -> None:
    """Log errors only: the results are shown, and the log lines that a handler leaves would say it twice."""
    from consumer.telemetry.logging import Redactor, configure_logging

    configure_logging("error", settings.log.format, Redactor(settings.secrets()))


async def _call(
    sender: RestActionSender | _DryRunPerformer, kind: type[ActionInput], rows: Rows, *, guard: bool
) -> tuple[Results, str | None]:
    """A result for each row, and why not all of them were performed."""
    import structlog

    from consumer.actions.client import Actions
    from consumer.actions.results import ActionCallFailed

    actions = Actions(sender, structlog.get_logger("cli"))
    failure = None
    try:
        performed = iter(
            await actions.call(kind, [row for row in rows if isinstance(row, dict)], guard=guard)
        )
    except ActionCallFailed as failed:
        performed, failure = iter(failed.results), str(failed)
    return [next(performed) if isinstance(row, dict) else row for row in rows], failure


class _DryRunPerformer:
    """A performer that looks and does not send: what would be sent counts as done."""

    def __init__(self, action_sender: RestActionSender) -> None:
        self._action_sender = action_sender

    async def send(self, inputs: Sequence[Any], *, client: str) -> Results:
        from consumer.actions.results import ActionResult, ActionStatus

        del client
        return [ActionResult(item, ActionStatus.SUCCEEDED) for item in inputs]

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        return await self._action_sender.active_runs(inputs)

    async def is_active(self, tracker_id: str) -> bool:
        return await self._action_sender.is_active(tracker_id)


async def _rows(
    rest: RestClient,
    raw_inputs: Sequence[str],
    subject: Mapping[IdKind, str] | None,
    shared_values: Mapping[str, Any],
) -> Rows:
    """An input for each line, or the result that says why there is none."""
    common = {name: value for name, value in shared_values.items() if value is not None}
    wanted, name = next(iter(subject.items())) if subject else ("target or run", "")
    resolved = await resolve(rest, (line for line in raw_inputs if not line.startswith("{")), wanted)
    rows: Rows = []
    for line in raw_inputs:
        if line.startswith("{"):
            rows.append(_parse_line(line, common))
            continue
        found = resolved[line]
        if isinstance(found, UnresolvedId):
            rows.append(_refused_result(line, found))
        else:
            field_name = name or ("actionCadenceTrackerId" if found.startswith(RUN_PREFIX) else "targetId")
            rows.append({**common, field_name: str(found)})
    return rows


def _parse_line(line: str, common: Mapping[str, Any]) -> dict[str, Any] | ActionResult[Any]:
    import orjson

    try:
        return {**common, **orjson.loads(line)}
    except orjson.JSONDecodeError as error:
        return _refused_result(line, f"the line is not JSON: {error}")


def _refused_result(line: str, why: str) -> ActionResult[Any]:
    from consumer.actions.results import ActionError, ActionResult, ActionStatus

    error = ActionError(status_code="INVALID_INPUT", message=str(why))
    return ActionResult({"given": line}, ActionStatus.REFUSED, (error,))


def _show(raw_inputs: Sequence[str], results: Results, common_options: CommonOptions) -> None:
    if common_options.json:
        for line, item in zip(raw_inputs, results, strict=True):
            document = item.to_json()
            if common_options.dry_run and item.succeeded:
                document |= {"status": "would be sent", "succeeded": None}
            print_json({"given": line, **document})
        return
    rows = [
        (
            line,
            item.subject,
            "would be sent" if common_options.dry_run and item.succeeded else item.status.value,
            item.why or _template(item),
        )
        for line, item in zip(raw_inputs, results, strict=True)
    ]
    table(("given", "id", "result", ""), rows)


def _template(item: ActionResult[Any]) -> str:
    template = item.template
    if template is None:
        return ""
    share = "" if template.split_percentage is None else f", {template.split_percentage:g} % of its variants"
    return f"template {template.template_id}{share}"
