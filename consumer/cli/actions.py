"""Commands ``actions``: Sales Engagement actions for one id or a file of ids.

Ids have 15 or 18 characters or are a record's URL. If an action needs the id of a related record (the target or the current step of a run),
the command looks it up. With ``--dry-run`` a command validates and looks up, but changes nothing. Results are a table, or with ``--json``
one object per line; the exit code is 1 if any input failed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.actions_runner import CommonOptions, run_action
from consumer.cli.options import Config, Json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID...", help="Record ids, 15 or 18 characters, or record URLs.", show_default=False
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="File with more inputs (- is standard input), one per line: an id, or a JSON object with Salesforce's names.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Validate and look up, but change nothing.")]
User = Annotated[str | None, typer.Option("--user", metavar="ID", help="Id of the assignee.")]
Disposition = Annotated[
    str | None, typer.Option(help="Completion disposition, for example 'Customer Connected'.")
]
Related = Annotated[
    str | None, typer.Option("--related", metavar="ID", help="Id of the related opportunity or invoice.")
]
Attribution = Annotated[
    str | None,
    typer.Option(help="Attribution type: Activation, Maturation (opportunities) or Collected (invoices)."),
]


@app.callback()
def _group() -> None:
    """Perform Sales Engagement actions: assign, remove, pause, resume and more."""


@app.command("assign")
def assign(
    ids: Ids = None,
    cadence: Annotated[str | None, typer.Option(help="Name or id of the cadence.")] = None,
    start_step: Annotated[str | None, typer.Option(help="Name or id of the first step.")] = None,
    user: User = None,
    related: Related = None,
    no_guard: Annotated[
        bool, typer.Option("--no-guard", help="Also send targets that are already in the cadence.")
    ] = False,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Assign targets (leads, contacts, person accounts) to a cadence.

    Example: cadence-consumer actions assign 00Qxx000002TRI2EAO --cadence "Outbound Prospecting"
    """
    from consumer.actions.inputs import AssignTarget

    shared_values = {
        "salesCadenceNameOrId": cadence,
        "startStepNameOrId": start_step,
        "userId": user,
        "relatedToId": related,
    }
    common_options = CommonOptions(ids, source, config, dry_run, json)
    run_action(AssignTarget, common_options, {"target": "targetId"}, shared_values, guard=not no_guard)


@app.command("remove")
def remove(
    ids: Ids = None,
    disposition: Disposition = None,
    related: Related = None,
    attribution: Attribution = None,
    own: Annotated[bool, typer.Option("--own", help="Only runs that the signed-in user owns.")] = False,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove targets from cadences.

    The id of a run ends that run, the id of a target ends every run of the target.

    Example: cadence-consumer actions remove 0qBxx0000004C92EAE --disposition "Not Interested"
    """
    from consumer.actions.inputs import RemoveTarget

    shared_values = {
        "completionDisposition": disposition,
        "relatedToId": related,
        "relatedToAttributionType": attribution,
        "shouldApplyUserContext": True if own else None,
    }
    run_action(RemoveTarget, CommonOptions(ids, source, config, dry_run, json), None, shared_values)


@app.command("pause")
def pause(
    ids: Ids = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time to resume: ISO 8601 with a time zone.")
    ] = None,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Pause targets, in all their cadences.

    The id of a run selects its target, because Salesforce pauses every run of a target.

    Example: cadence-consumer actions pause 00Qxx000002TRI2EAO --until 2026-06-15T05:30:00Z
    """
    from consumer.actions.inputs import PauseRun

    common_options = CommonOptions(ids, source, config, dry_run, json)
    run_action(PauseRun, common_options, {"target": "targetId"}, {"resumeTime": until})


@app.command("resume")
def resume(
    ids: Ids = None, source: From = None, config: Config = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Resume paused targets.

    The id of a run selects its target.

    Example: cadence-consumer actions resume 00Qxx000002TRI2EAO
    """
    from consumer.actions.inputs import ResumeRun

    run_action(ResumeRun, CommonOptions(ids, source, config, dry_run, json), {"target": "targetId"}, {})


@app.command("change-assignee")
def change_assignee(
    ids: Ids = None,
    user: User = None,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Reassign targets to another user.

    The id of a run selects its target.

    Example: cadence-consumer actions change-assignee 00Qxx000002TRI2EAO --user 005R0000000eg3zIAA
    """
    from consumer.actions.inputs import ChangeAssignee

    common_options = CommonOptions(ids, source, config, dry_run, json)
    run_action(ChangeAssignee, common_options, {"target": "targetId"}, {"userId": user})


@app.command("modify")
def modify(
    ids: Ids = None,
    disposition: Disposition = None,
    related: Related = None,
    attribution: Attribution = None,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Set the disposition, related record and attribution of runs.

    The id of a target selects its active run, if it has exactly one.

    Example: cadence-consumer actions modify 0qBxx0000004C92EAE --disposition Success
    """
    from consumer.actions.inputs import ModifyAttributes

    shared_values = {
        "completionDisposition": disposition,
        "relatedToId": related,
        "relatedToAttributionType": attribution,
    }
    common_options = CommonOptions(ids, source, config, dry_run, json)
    run_action(ModifyAttributes, common_options, {"run": "actionCadenceTrackerId"}, shared_values)


@app.command("send-event")
def send_event(
    ids: Ids = None,
    event: Annotated[
        str | None, typer.Option("--event", help="Event to send: Skip or ManualComplete.")
    ] = None,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Skip steps, or complete them manually.

    The id of a run, or of a target with exactly one active run, selects the current step.

    Example: cadence-consumer actions send-event 8HFR00000005WyqOAE --event Skip
    """
    from consumer.actions.inputs import SendEvent

    run_action(
        SendEvent,
        CommonOptions(ids, source, config, dry_run, json),
        {"step": "recordId"},
        {"eventType": event},
    )


@app.command("select-template")
def select_template(
    ids: Ids = None, source: From = None, config: Config = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Show the e-mail template or call script of steps.

    The id of a run selects its current step.

    Example: cadence-consumer actions select-template 8HFR00000006LE8OAM
    """
    from consumer.actions.inputs import SelectTemplate

    run_action(
        SelectTemplate, CommonOptions(ids, source, config, dry_run, json), {"step": "stepTrackerId"}, {}
    )
