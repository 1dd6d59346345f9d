"""The org: whether it lets us in, speaks our version, shows both objects, lets every channel be subscribed, and has something left.

Every channel is tried in a session of its own, which asks for new events only, reads none and says good-bye: the refusal of one says
nothing of the others, and a running service has its own session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from consumer.clock import Clock
from consumer.durations import in_words
from consumer.errors import AuthenticationFailed, SessionFault
from consumer.examination.findings import Fault, Tell, failed, fine, skipped, warned
from consumer.examination.remedies import about_rest, about_session, about_sign_in
from consumer.examination.store import KnownOfStore
from consumer.ports import Source
from consumer.records import ENTITIES
from consumer.salesforce.auth import TokenCache
from consumer.salesforce.instance import InstanceName
from consumer.salesforce.rest import RestClient, RestError
from consumer.telemetry.allowances import ALLOCATIONS

__all__ = ["OrgExamination"]

NEW_ONLY: Final = "-1"
LOW: Final = 0.1
"""Share of an allocation below which somebody should know."""
SKEW_TOLD_MS: Final = 5_000
SKEW_MOST_MS: Final = 60_000
"""A JWT assertion is good for three minutes, and ages are told by both clocks."""

_CHECKS_OF_ORG: Final = ("api version", "objects", "clock", "limits", "channel", "store's org")


class OrgExamination:
    """Looks at one org.

    Args:
        tokens: to sign in with.
        rest: over the same tokens.
        source: makes sessions over the same tokens.
        clock: wall.
        flow: the OAuth flow of the settings.
        api_version: of the settings, as in ``66.0``.
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
    def not_possible(why: str, tell: Tell) -> None:
        """Say of every check that it was not made."""
        for check in ("org", *_CHECKS_OF_ORG):
            tell(skipped(check, why))

    async def run(self, channels: Sequence[str], store: KnownOfStore, tell: Tell) -> None:
        """Look at everything.

        Args:
            channels: to be subscribed.
            store: whose it is.
            tell: takes the findings.
        """
        try:
            token = await self._tokens.token()
        except AuthenticationFailed as error:
            tell(failed("org", str(error), *about_sign_in(error, self._flow)))
            for check in _CHECKS_OF_ORG:
                tell(skipped(check, "nobody is signed in"))
            return
        instance = InstanceName(self._rest, lambda _: None)
        await instance.refresh()
        where = f" on {instance.name}" if instance.name else ""
        who = f"as user {token.user_id} with {self._flow}"
        tell(fine("org", f"signed in to {token.instance_url}, org {token.org_id}{where}, {who}"))
        await self._version(tell)
        await self._objects_and_clock(tell)
        await self._limits(tell)
        await self._channels(channels, tell)
        _ownership(token.org_id, store, tell)

    async def _version(self, tell: Tell) -> None:
        try:
            spoken = await self._rest.versions()
        except RestError as error:
            tell(failed("api version", str(error), *about_rest(error)))
            return
        if self._api_version in spoken:
            tell(
                fine(
                    "api version", f"{self._api_version}, of {spoken[0]} to {spoken[-1]} that the org speaks"
                )
            )
        else:
            what = f"the org speaks {spoken[0]} to {spoken[-1]}, not {self._api_version}"
            tell(failed("api version", what, f"Set salesforce.api_version to {spoken[-1]}."))

    async def _objects_and_clock(self, tell: Tell) -> None:
        skew_ms: int | None = None
        for entity in ENTITIES:
            asked_ms = self._clock.wall_ms()
            try:
                page = await self._rest.page(f"SELECT Id FROM {entity} LIMIT 1")  # noqa: S608 - our own names
            except (RestError, AuthenticationFailed) as error:
                self._refused("objects", error, tell)
            else:
                tell(fine("objects", f"{entity} can be read over REST"))
                # The Date header has whole seconds and was written some time between the question and the answer.
                skew_ms = page.server_ms + 500 - (asked_ms + self._clock.wall_ms()) // 2
        if skew_ms is None:
            tell(skipped("clock", "REST does not answer"))
            return
        told = (
            f"this machine is {in_words(abs(skew_ms))} {'behind' if skew_ms > 0 else 'ahead of'} Salesforce"
        )
        if abs(skew_ms) <= SKEW_TOLD_MS:
            tell(fine("clock", "this machine's clock agrees with Salesforce's, as far as seconds tell"))
        elif abs(skew_ms) <= SKEW_MOST_MS:
            tell(warned("clock", told, "Set its clock by NTP."))
        else:
            tell(failed("clock", told, "Set its clock by NTP: JWT logins fail, and ages are told wrong."))

    async def _limits(self, tell: Tell) -> None:
        try:
            limits = await self._rest.limits()
        except (RestError, AuthenticationFailed) as error:
            self._refused("limits", error, tell)
            return
        for name in ALLOCATIONS.values():
            if name not in limits:
                tell(warned("limits", f"{name} is not told by this org", "See Setup > Company Information."))
                continue
            allowed, left = limits[name]
            what = f"{name}: {left:,} of {allowed:,} are left today"
            if left <= 0:
                action = "Wait until the rolling 24 h free some, or buy more."
                tell(failed("limits", what, action, Fault.UNAVAILABLE))
            elif left < LOW * allowed:
                tell(warned("limits", what, "All clients of the org share them: see who uses so many."))
            else:
                tell(fine("limits", what))

    async def _channels(self, channels: Sequence[str], tell: Tell) -> None:
        for number, channel in enumerate(channels, 1):
            session = self._source.session(number, lambda: None)
            try:
                await session.open({channel: NEW_ONLY})
            except SessionFault as fault:
                tell(failed("channel", f"{channel}: {fault.reason}", *about_session(fault.reason)))
            except AuthenticationFailed as error:
                tell(failed("channel", f"{channel}: {error}", *about_sign_in(error, self._flow)))
            else:
                tell(fine("channel", f"{channel} is acknowledged{_silence(channel)}"))
            finally:
                await session.aclose()

    def _refused(self, check: str, error: RestError | AuthenticationFailed, tell: Tell) -> None:
        if isinstance(error, RestError):
            tell(failed(check, str(error), *about_rest(error)))
        else:
            tell(failed(check, str(error), *about_sign_in(error, self._flow)))


def _silence(channel: str) -> str:
    """Channels of several objects leave out, without a word, what the user may not see (documented); those of one object refuse."""
    if channel.removeprefix("/data/") == "ChangeEvents" or channel.endswith("__chn"):
        return "; what the user has no 'View All Records' for is left out of it without a word"
    return ""


def _ownership(org_id: str, store: KnownOfStore, tell: Tell) -> None:
    if not store.readable:
        tell(skipped("store's org", "the store cannot be read"))
    elif store.org_id is None:
        tell(fine("store's org", "the store belongs to no org yet"))
    elif store.org_id == org_id:
        tell(fine("store's org", f"the store belongs to this org, {org_id}"))
    else:
        what = f"the store belongs to org {store.org_id}, and these settings sign in to {org_id}"
        action = "Give every org a store of its own: another store.url, or another store.prefix."
        tell(failed("store's org", what, action))
