"""Command ``doctor``: check settings, handlers, store and org, without changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from consumer.cli.command_frame import run_async
from consumer.cli.options import Config, Json, read_settings, settings_without_credentials
from consumer.cli.render.output import console, print_json, print_message
from consumer.process import ExitCode

if TYPE_CHECKING:
    from consumer.inspection import Finding, ReportFinding
    from consumer.settings import Settings

__all__ = ["doctor"]


def doctor(config: Config = None, json: Json = False) -> None:
    """Check settings, handlers, store, org and channels, and say what is missing.

    Changes nothing, and can run beside the service.

    Exit code: 0 if no check failed, else the first that applies: 2 invalid settings, 69 unavailable, 77 not permitted, 1 anything else.

    Example: cadence-consumer doctor --config cadence.toml
    """
    from consumer.errors import SettingsError
    from consumer.inspection.findings import (
        FailureKind,
        Verdict,
        failed,
        passed,
        skipped,
    )

    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        _show(finding, json=json)

    can_sign_in = False
    try:
        settings = read_settings(config, connects=True)
    except SettingsError as error:
        for problem in error.problems:
            report(failed("settings", str(problem), "", FailureKind.SETTINGS))
        usable = settings_without_credentials(config)
    else:
        report(passed("settings", f"{settings.salesforce.auth.value} at {settings.salesforce.login_url}"))
        usable, can_sign_in = settings, True
    if usable is None:
        report(skipped("the rest", "the settings must be valid first"))
    else:
        run_async(_check(usable, report, can_sign_in=can_sign_in))
    failed_findings = [finding for finding in findings if finding.verdict is Verdict.FAILED]
    if not failed_findings:
        print_message("no check failed")
        return
    print_message(f"{len(failed_findings)} of {len(findings)} checks failed")
    codes = {
        FailureKind.SETTINGS: ExitCode.USAGE,
        FailureKind.UNAVAILABLE: ExitCode.UNAVAILABLE,
        FailureKind.NOT_PERMITTED: ExitCode.NOT_PERMITTED,
        FailureKind.OTHER: ExitCode.FAILED,
    }
    kinds = {finding.failure_kind for finding in failed_findings}
    raise typer.Exit(next(code for failure_kind, code in codes.items() if failure_kind in kinds))


async def _check(settings: Settings, report: ReportFinding, *, can_sign_in: bool) -> None:
    """Check handlers, store and, with valid credentials, the org."""
    from consumer.clock import SystemClock
    from consumer.errors import SettingsError
    from consumer.inspection import OrgChecks, check_store
    from consumer.inspection.findings import FailureKind, failed, passed
    from consumer.wiring import load_enabled_handlers, make_store, open_org_checks

    try:
        names = [handler.name for handler in load_enabled_handlers(settings)]
        report(passed("handlers", f"{', '.join(names)} can be loaded"))
    except SettingsError as error:
        for problem in error.problems:
            report(failed("handlers", str(problem), "", FailureKind.SETTINGS))
    store = make_store(settings, read_only=True)
    store_facts = await check_store(store, settings.channels, SystemClock(), report)
    if not can_sign_in:
        OrgChecks.skip_all("the settings must be valid first", report)
        return
    async with open_org_checks(settings) as org_checks:
        await org_checks.run(settings.channels, store_facts, report)


def _show(finding: Finding, *, json: bool) -> None:
    if json:
        print_json(
            {
                "check": finding.check,
                "verdict": finding.verdict.value,
                "message": finding.message,
                "action": finding.action or None,
                "fault": finding.failure_kind.value if finding.failure_kind else None,
            }
        )
        return
    from rich.text import Text

    from consumer.inspection.findings import Verdict

    label, style = {
        Verdict.PASSED: ("ok", "green"),
        Verdict.WARNING: ("warn", "yellow"),
        Verdict.FAILED: ("FAIL", "bold red"),
        Verdict.SKIPPED: ("skip", "dim"),
    }[finding.verdict]
    console().print(Text(f"{label:<5}", style), Text(f"{finding.check:<12}", "bold"), Text(str(finding)))
