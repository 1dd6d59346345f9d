"""``doctor``: is everything there that the service needs? Asks the org and the store, and changes nothing in either."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from consumer.cli.failures import ExitCode
from consumer.cli.options import Config, Json, read_settings, readable_settings
from consumer.cli.output import console, json_line, say

if TYPE_CHECKING:
    from consumer.examination import Finding

__all__ = ["doctor"]


def doctor(config: Config = None, json: Json = False) -> None:
    """Look at settings, handlers, store, org and channels, and say what is missing; changes nothing, also beside a running service.

    Exit code: 0 when nothing failed; else 2 for settings, 69 for what cannot be reached, 77 for what is not permitted, 1 for the rest,
    whichever of them comes first in this order.

    Example: cadence-consumer doctor --config cadence.toml
    """
    import asyncio

    from consumer.app import examine
    from consumer.errors import SettingsError
    from consumer.examination.findings import Fault, Verdict, failed, fine, skipped

    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        _show(finding, json=json)

    signs_in = False
    try:
        settings = read_settings(config, connects=True)
    except SettingsError as error:
        for problem in error.problems:
            tell(failed("settings", str(problem), "", Fault.SETTINGS))
        usable = readable_settings(config)
    else:
        tell(fine("settings", f"{settings.salesforce.auth.value} at {settings.salesforce.login_url}"))
        usable, signs_in = settings, True
    if usable is None:
        tell(skipped("the rest", "the settings have to be right first"))
    else:
        asyncio.run(examine(usable, tell, signs_in=signs_in))
    wrong = [finding for finding in findings if finding.verdict is Verdict.FAILED]
    if not wrong:
        say("everything that the service needs is there")
        return
    say(f"{len(wrong)} of {len(findings)} checks failed")
    codes = {
        Fault.SETTINGS: ExitCode.USAGE,
        Fault.UNAVAILABLE: ExitCode.UNAVAILABLE,
        Fault.NOT_PERMITTED: ExitCode.NOT_PERMITTED,
        Fault.OTHER: ExitCode.FAILED,
    }
    kinds = {finding.fault for finding in wrong}
    raise typer.Exit(next(code for fault, code in codes.items() if fault in kinds))


def _show(finding: Finding, *, json: bool) -> None:
    if json:
        json_line(
            {
                "check": finding.check,
                "verdict": finding.verdict.value,
                "message": finding.message,
                "action": finding.action or None,
                "fault": finding.fault.value if finding.fault else None,
            }
        )
        return
    from rich.text import Text

    from consumer.examination.findings import Verdict

    word, style = {
        Verdict.FINE: ("ok", "green"),
        Verdict.WARNING: ("warn", "yellow"),
        Verdict.FAILED: ("FAIL", "bold red"),
        Verdict.SKIPPED: ("skip", "dim"),
    }[finding.verdict]
    console().print(Text(f"{word:<5}", style), Text(f"{finding.check:<12}", "bold"), Text(str(finding)))
