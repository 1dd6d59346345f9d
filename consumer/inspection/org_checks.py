"""Checks of the org: sign-in, version, objects, clock, limits, channels.

Every channel is subscribed in a session of its own, for new events only, and disconnected without a poll: the refusal of one says nothing
about the others, and a running service keeps its own session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from consumer.clock import Clock
from consumer.domain.objects import ENTITIES
from consumer.durations import humanize_ms
from consumer.errors import AuthenticationFailed, SessionFault
from consumer.inspection.findings import (
    FailureKind,
    ReportFinding,
    failed,
    passed,
    skipped,
    warned,
)
from consumer.inspection.remedies import rest_remedy, session_remedy, sign_in_remedy
from consumer.inspection.store_checks import StoreFacts
from consumer.ports.source import Source
from consumer.salesforce.instance import InstanceName
from consumer.salesforce.rest import RestClient, RestError
from consumer.salesforce.token_cache import TokenCache
from consumer.telemetry.org_limits import ALLOCATIONS

__all__ = ["OrgChecks"]

NEW_ONLY: Final = "-1"
LOW_SHARE: Final = 0.1
"""Share of a limit below which the operator is warned."""
TOLERATED_SKEW_MS: Final = 5_000
MAX_SKEW_MS: Final = 60_000
"""A JWT assertion is valid for three minutes, and ages are computed from both clocks."""

_ORG_CHECKS: Final = ("api version", "objects", "clock", "limits", "channel", "store's org")


class OrgChecks:
    """Checks of one org.

    Args:
        tokens: source of access tokens.
        rest: REST client with the same tokens.
        source: opens sessions with the same tokens.
        clock: wall.
        flow: OAuth flow of the settings.
        api_version: API version of the settings, such as ``66.0``.
    """

    def __init__(
        self,
        tokens: TokenCache,
        rest: RestClient,
        source: Source,
        clock: Clock,
        *,
        flow: str,
        api_version: str,
    ) -> None:
        self._tokens = tokens
        self._rest = rest
        self._source = source
        self._clock = clock
        self._flow = flow
        self._api_version = api_version

    @staticmethod
    def skip_all(why: str, report: ReportFinding) -> None:
        """Report every check as skipped."""
        for check in ("org", *_ORG_CHECKS):
            report(skipped(check, why))

    async def run(self, channels: Sequence[str], store: StoreFacts, report: ReportFinding) -> None:
        """Make all checks.

        Args:
            channels: channels to subscribe.
            store: what the store's checks found.
            report: takes the findings.
        """
        try:
            token = await self._tokens.token()
        except AuthenticationFailed as error:
            report(failed("org", str(error), *sign_in_remedy(error, self._flow)))
            for check in _ORG_CHECKS:
                report(skipped(check, "the sign-in failed"))
            return
        instance = InstanceName(self._rest, lambda _: None)
        await instance.refresh()
        where = f" on {instance.name}" if instance.name else ""
        who = f"as user {token.user_id} with {self._flow}"
        report(passed("org", f"signed in to {token.instance_url}, org {token.org_id}{where}, {who}"))
        await self._check_version(report)
        await self._check_objects_and_clock(report)
        await self._check_limits(report)
        await self._check_channels(channels, report)
        _check_store_org(token.org_id, store, report)

    async def _check_version(self, report: ReportFinding) -> None:
        try:
            supported_versions = await self._rest.versions()
        except RestError as error:
            report(failed("api version", str(error), *rest_remedy(error)))
            return
        if self._api_version in supported_versions:
            report(
                passed(
                    "api version",
                    f"{self._api_version}, of {supported_versions[0]} to {supported_versions[-1]} that the org supports",
                )
            )
        else:
            what = f"the org supports {supported_versions[0]} to {supported_versions[-1]}, not {self._api_version}"
            report(failed("api version", what, f"Set salesforce.api_version to {supported_versions[-1]}."))

    async def _check_objects_and_clock(self, report: ReportFinding) -> None:
        skew_ms: int | None = None
        for entity in ENTITIES:
            requested_ms = self._clock.wall_ms()
            try:
                page = await self._rest.page(f"SELECT Id FROM {entity} LIMIT 1")  # noqa: S608 - our own names
            except (RestError, AuthenticationFailed) as error:
                self._report_refusal("objects", error, report)
            else:
                report(passed("objects", f"{entity} can be read over REST"))
                # The Date header has whole seconds and was written some time between request and answer.
                skew_ms = page.server_ms + 500 - (requested_ms + self._clock.wall_ms()) // 2
        if skew_ms is None:
            report(skipped("clock", "REST does not answer"))
            return
        message = f"this machine is {humanize_ms(abs(skew_ms))} {'behind' if skew_ms > 0 else 'ahead of'} Salesforce"
        if abs(skew_ms) <= TOLERATED_SKEW_MS:
            report(passed("clock", "this machine's clock agrees with Salesforce's, to the second"))
        elif abs(skew_ms) <= MAX_SKEW_MS:
            report(warned("clock", message, "Set its clock by NTP."))
        else:
            report(failed("clock", message, "Set its clock by NTP: JWT logins fail, and ages are wrong."))

    async def _check_limits(self, report: ReportFinding) -> None:
        try:
            limits = await self._rest.limits()
        except (RestError, AuthenticationFailed) as error:
            self._report_refusal("limits", error, report)
            return
        for name in ALLOCATIONS.values():
            if name not in limits:
                report(
                    warned(
                        "limits", f"{name} is not among this org's limits", "See Setup > Company Information."
                    )
                )
                continue
            allowed, left = limits[name]
            what = f"{name}: {left:,} of {allowed:,} are left today"
            if left <= 0:
                action = "Wait until the rolling 24 h have room again, or buy more."
                report(failed("limits", what, action, FailureKind.UNAVAILABLE))
            elif left < LOW_SHARE * allowed:
                report(
                    warned("limits", what, "All clients of the org share them: find the one that uses most.")
                )
            else:
                report(passed("limits", what))

    async def _check_channels(self, channels: Sequence[str], report: ReportFinding) -> None:
        for number, channel in enumerate(channels, 1):
            session = self._source.session(number, lambda: None)
            try:
                await session.open({channel: NEW_ONLY})
            except SessionFault as fault:
                report(failed("channel", f"{channel}: {fault.reason}", *session_remedy(fault.reason)))
            except AuthenticationFailed as error:
                report(failed("channel", f"{channel}: {error}", *sign_in_remedy(error, self._flow)))
            else:
                report(passed("channel", f"{channel} is acknowledged{_omission_note(channel)}"))
            finally:
                await session.aclose()

    def _report_refusal(
        self, check: str, error: RestError | AuthenticationFailed, report: ReportFinding
    ) -> None:
        if isinstance(error, RestError):
            report(failed(check, str(error), *rest_remedy(error)))
        else:
            report(failed(check, str(error), *sign_in_remedy(error, self._flow)))


def _omission_note(channel: str) -> str:
    """Return a note on what a channel of several objects omits.

    Such a channel silently omits what the user may not see (documented); one of a single object refuses.
    """
    if channel.removeprefix("/data/") == "ChangeEvents" or channel.endswith("__chn"):
        return "; it silently omits objects on which the user has no 'View All Records'"
    return ""


def _check_store_org(org_id: str, store: StoreFacts, report: ReportFinding) -> None:
    if not store.readable:
        report(skipped("store's org", "the store cannot be read"))
    elif store.org_id is None:
        report(passed("store's org", "the store belongs to no org yet"))
    elif store.org_id == org_id:
        report(passed("store's org", f"the store belongs to this org, {org_id}"))
    else:
        what = f"the store belongs to org {store.org_id}, and these settings sign in to {org_id}"
        action = "Give every org a store of its own: another store.url or store.prefix."
        report(failed("store's org", what, action))
