"""Runner of the ``actions`` commands: read inputs, resolve ids, act, report.

An input is an id, on the command line or on a line of a file, or a JSON object with Salesforce's names on such a line. Options apply to
every input that does not set the value itself. An error of one input is reported with that input and does not affect the others.
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
    """Options that every command of the group has."""

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
    """Perform an action and report the result of every input.

    Args:
        kind: class of the inputs.
        common_options: ids, file, configuration, output.
        subject: kind of record to resolve ids to, and the input's field for it; None for a run or a target, as the id itself shows.
        shared_values: values of all inputs, by Salesforce's names; None is omitted.
        guard: whether to check for targets that are already in the cadence.

    Raises:
        typer.Exit: an input failed (1), Salesforce is unavailable (69), there are no inputs (2).
        CadenceError: Salesforce could not be reached at all.
    """
    raw_inputs = [*(common_options.ids or []), *_lines(common_options.source)]
    if not raw_inputs:
        raise fail("there are no inputs: give ids, or --from FILE", ExitCode.USAGE)

    async def perform(settings: Settings, rest: RestClient, action_sender: RestActionSender) -> _Outcome:
        _log_errors_only(settings)
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


def _log_errors_only(settings: Settings) -> None:
    """Log errors only, because the command prints the results itself."""
    from consumer.telemetry.logging import Redactor, configure_logging

    configure_logging("error", settings.log.format, Redactor(settings.secrets()))


async def _call(
    sender: RestActionSender | _DryRunPerformer, kind: type[ActionInput], rows: Rows, *, guard: bool
) -> tuple[Results, str | None]:
    """Return a result for each row, and the reason why a call failed, if any."""
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
    """An action sender that looks up but does not send; every input succeeds."""

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
    """Convert each line to an input, or to the result that reports its error."""
    common = {name: value for name, value in shared_values.items() if value is not None}
    id_kind, name = next(iter(subject.items())) if subject else ("target or run", "")
    resolved = await resolve(rest, (line for line in raw_inputs if not line.startswith("{")), id_kind)
    rows: Rows = []
    for line in raw_inputs:
        if line.startswith("{"):
            rows.append(_parse_line(line, common))
            continue
        record_id = resolved[line]
        if isinstance(record_id, UnresolvedId):
            rows.append(_refused_result(line, record_id))
        else:
            is_run = record_id.startswith(RUN_PREFIX)
            field_name = name or ("actionCadenceTrackerId" if is_run else "targetId")
            rows.append({**common, field_name: str(record_id)})
    return rows


def _parse_line(line: str, common: Mapping[str, Any]) -> dict[str, Any] | ActionResult[Any]:
    import orjson

    try:
        return {**common, **orjson.loads(line)}
    except orjson.JSONDecodeError as error:
        return _refused_result(line, f"the line is not JSON: {error}")


def _refused_result(line: str, reason: str) -> ActionResult[Any]:
    from consumer.actions.results import ActionError, ActionResult, ActionStatus

    error = ActionError(status_code="INVALID_INPUT", message=str(reason))
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
    table(("input", "id", "result", ""), rows)


def _template(item: ActionResult[Any]) -> str:
    template = item.template
    if template is None:
        return ""
    share = "" if template.split_percentage is None else f", {template.split_percentage:g} % of its variants"
    return f"template {template.template_id}{share}"
