"""``actions``: Sales Engagement actions by hand, one command per action, for one id or for a file of them.

Ids are given as people have them: 15 or 18 characters or a record's URL, and where an action wants something else than the person has
(the target of a run, the current step of a run) it is looked up. With ``--dry-run`` a command checks and looks and changes nothing.
Results are a table, or with ``--json`` one object a line; the exit code is 1 when any input failed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.actions_runner import CommonOptions, run_action
from consumer.cli.options import Config, Json

__all__ = ["app"]

app = typer.Typer(
    help="Sales Engagement actions by hand: enrol, remove, pause, resume and the rest.", no_args_is_help=True
)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help="15 or 18 characters, or a record's URL.", show_default=False),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="More inputs, one a line (- is standard input): an id, or a JSON object with Salesforce's names.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and look, but change nothing.")]
User = Annotated[str | None, typer.Option("--user", metavar="ID", help="The assignee.")]
Disposition = Annotated[str | None, typer.Option(help="How the run came out, as in 'Customer Connected'.")]
Related = Annotated[str | None, typer.Option("--related", metavar="ID", help="Opportunity or invoice.")]
Attribution = Annotated[
    str | None, typer.Option(help="Activation, Maturation (opportunities) or Collected (invoices).")
]


@app.callback()
def _group() -> None:
    """Sales Engagement actions by hand."""


@app.command("assign")
def assign(
    ids: Ids = None,
    cadence: Annotated[str | None, typer.Option(help="Name or id of the cadence.")] = None,
    start_step: Annotated[str | None, typer.Option(help="Name or id of the step to start at.")] = None,
    user: User = None,
    related: Related = None,
    no_guard: Annotated[
        bool, typer.Option("--no-guard", help="Send targets too that are in the cadence already.")
    ] = False,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Add targets (Leads, Contacts, person accounts) to a cadence.

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
    own: Annotated[bool, typer.Option("--own", help="Only runs that the running user owns.")] = False,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take targets out of cadences: a run's id ends that run, a target's id every run that the target is in.

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
        str | None, typer.Option(metavar="TIME", help="Resume then: ISO 8601 with its zone.")
    ] = None,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Pause targets. A run's id stands for its target: Salesforce pauses every run that a target is in.

    Example: cadence-consumer actions pause 00Qxx000002TRI2EAO --until 2026-06-15T05:30:00Z
    """
    from consumer.actions.inputs import PauseRun

    common_options = CommonOptions(ids, source, config, dry_run, json)
    run_action(PauseRun, common_options, {"target": "targetId"}, {"resumeTime": until})


@app.command("resume")
def resume(
    ids: Ids = None, source: From = None, config: Config = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Resume paused targets. A run's id stands for its target.

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
    """Give targets to another user. A run's id stands for its target.

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
    """Record how runs came out and what they led to. A target's id stands for its active run, if it has just one.

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
    event: Annotated[str | None, typer.Option("--event", help="Skip or ManualComplete.")] = None,
    source: From = None,
    config: Config = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Skip steps, or complete them by hand. The id of a run, or of a target with just one, stands for the current step.

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
    """Show which e-mail template or call script steps use. The id of a run stands for its current step.

    Example: cadence-consumer actions select-template 8HFR00000006LE8OAM
    """
    from consumer.actions.inputs import SelectTemplate

    run_action(
        SelectTemplate, CommonOptions(ids, source, config, dry_run, json), {"step": "stepTrackerId"}, {}
    )
