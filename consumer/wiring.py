"""Composition of objects from settings.

This is the only place that knows settings and picks adapters.

Components take plain arguments and know nothing of settings. :mod:`consumer.app` runs what is made here; commands open a store or REST of
their own with it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import structlog

from consumer.clock import Clock, SystemClock
from consumer.delivery.loading import LoadedHandler, load_handlers
from consumer.errors import StoreEmpty
from consumer.ingest.options import IngestOptions
from consumer.ingest.supervisor import SupervisorOptions
from consumer.inspection import OrgChecks
from consumer.ports.observers.observer import Observer
from consumer.ports.observers.service_events import StoreUnreachable
from consumer.ports.observers.session_events import SessionEvent
from consumer.ports.store import SecretStore, Store
from consumer.salesforce.action_sender import RestActionSender
from consumer.salesforce.cometd_client import RequestLimits
from consumer.salesforce.cometd_session import CometdSource
from consumer.salesforce.grants import (
    ClientCredentials,
    Grant,
    JwtBearer,
    Password,
    RefreshToken,
    StaticAccessToken,
)
from consumer.salesforce.instance import InstanceName
from consumer.salesforce.org_of_token import OrgOfToken
from consumer.salesforce.rest import RestClient
from consumer.salesforce.token_cache import TokenCache
from consumer.salesforce.token_endpoint import TokenEndpoint
from consumer.service import Service, ServiceOptions
from consumer.settings import AuthFlow, SalesforceSettings, Settings
from consumer.stores.sqlite.sqlite_store import SqliteStore
from consumer.telemetry.delivery_telemetry import DeliveryTelemetry
from consumer.telemetry.health import COMMIT_MARGIN_MS, Health
from consumer.telemetry.ingest_telemetry import IngestTelemetry
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.logging import Redactor
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.org_limits import OrgLimitsWatch
from consumer.telemetry.retention_telemetry import RetentionTelemetry
from consumer.telemetry.service_telemetry import ServiceTelemetry
from consumer.telemetry.session_telemetry import SessionTelemetry

__all__ = [
    "Instruments",
    "load_enabled_handlers",
    "make_instruments",
    "make_service",
    "make_store",
    "open_org_checks",
    "open_rest",
    "open_store",
]

T = TypeVar("T")

_TIMEOUT_MS = 15_000
"""For each answer when a person waits for it."""


@dataclass(frozen=True, slots=True)
class Instruments:
    """Instruments that all parts of a replica share to be seen by.

    They are time, metrics, health and the log.
    """

    clock: Clock
    metrics: Metrics
    health: Health
    throttle: LogThrottle
    redactor: Redactor
    tenure: ServiceTelemetry


def make_instruments(settings: Settings, redactor: Redactor) -> Instruments:
    """Instruments of a replica that has not begun."""
    clock, metrics, throttle = SystemClock(), Metrics(), LogThrottle()
    commit_limit_ms = settings.ordering.max_hold + COMMIT_MARGIN_MS
    health = Health(settings.channels, clock.monotonic_ms(), commit_limit_ms=commit_limit_ms)
    tenure = ServiceTelemetry(metrics, health, clock, throttle)
    return Instruments(clock, metrics, health, throttle, redactor, tenure)


@asynccontextmanager
async def make_service(
    settings: Settings,
    store: Store,
    handlers: list[LoadedHandler],
    instruments: Instruments,
    *,
    session_observer: Observer[SessionEvent] | None = None,
    supervisor: SupervisorOptions | None = None,
) -> AsyncIterator[Service]:
    """A replica on an opened store.

    ``session_observer`` stands in for the usual telemetry of sessions.
    """
    clock, metrics, health, throttle = (
        instruments.clock,
        instruments.metrics,
        instruments.health,
        instruments.throttle,
    )
    salesforce = settings.salesforce
    tokens = TokenCache(
        _grant(
            salesforce,
            store,
            lambda error: instruments.tenure.observe(StoreUnreachable(error)),
            instruments.redactor,
        ),
        TokenEndpoint(clock, instance_url=salesforce.instance_url),
        lambda token: instruments.redactor.learn(token.get_secret_value()),
    )
    log = structlog.get_logger("service")
    rest = RestClient(tokens, api_version=salesforce.api_version)
    ingest_observer = IngestTelemetry(metrics, health, clock, settings.channels, throttle)
    service = Service(
        store,
        CometdSource(tokens, clock, api_version=salesforce.api_version),
        OrgOfToken(tokens),
        InstanceName(rest, lambda error: log.info("instance_unknown", error=error)),
        rest,
        handlers,
        _options(settings, supervisor),
        clock,
        Random(),  # noqa: S311 - jitter
        observer=instruments.tenure,
        ingest_observer=ingest_observer,
        session_observer=session_observer or SessionTelemetry(metrics, health, clock, settings.channels),
        delivery_observer=DeliveryTelemetry(metrics, health, throttle),
        retention_observer=RetentionTelemetry(metrics, health),
        action_sender=_action_sender(settings, rest, clock),
        record_source=rest,
    )
    try:
        async with OrgLimitsWatch(rest, lambda: health.signed_in, metrics):
            yield service
    finally:
        await rest.aclose()


def load_enabled_handlers(settings: Settings) -> list[LoadedHandler]:
    """The handlers the settings enable; the log alone when they name none.

    Raises:
        SettingsError: every problem at once.
    """
    return load_handlers(settings.handlers_to_run())


def make_store(settings: Settings, *, read_only: bool) -> Store:
    """The configured store, not opened yet."""
    store_settings = settings.store
    if store_settings.is_redis:
        from consumer.stores.redis.redis_store import RedisStore  # with a client of 7 MB

        return RedisStore(
            store_settings.url,
            shown_url=store_settings.shown,
            prefix=store_settings.prefix,
            read_only=read_only,
        )
    return SqliteStore(store_settings.path, synchronous=store_settings.synchronous, read_only=read_only)


@asynccontextmanager
async def open_store(settings: Settings, *, read_only: bool = True) -> AsyncIterator[Store]:
    """The configured store, for looking, or for what people change by hand.

    Raises:
        StoreUnavailable: it cannot be reached, or nothing has been written yet.
        StoreForeign: it is of a newer format.
    """
    store = make_store(settings, read_only=read_only)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def open_rest(settings: Settings) -> AsyncIterator[tuple[RestClient, RestActionSender]]:
    """Salesforce for commands that ask or act: REST, and the actions over it.

    Raises:
        StoreUnavailable: the OAuth flow is ``refresh_token``, whose tokens may rotate and are kept in the store, and it does not answer.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = None
        if settings.salesforce.auth is AuthFlow.REFRESH_TOKEN:
            store = await stack.enter_async_context(open_store(settings, read_only=False))
        rest = RestClient(
            TokenCache(
                _grant(settings.salesforce, store),
                TokenEndpoint(clock, instance_url=settings.salesforce.instance_url),
            ),
            api_version=settings.salesforce.api_version,
        )
        stack.push_async_callback(rest.aclose)
        yield rest, _action_sender(settings, rest, clock)


@asynccontextmanager
async def open_org_checks(settings: Settings) -> AsyncIterator[OrgChecks]:
    """The checks of ``doctor`` on the org.

    Their limits of time are for a person who waits; nothing is asked yet.
    """
    clock, salesforce = SystemClock(), settings.salesforce
    grant = _grant(salesforce, _OnDemandSecretStore(settings))
    tokens = TokenCache(
        grant, TokenEndpoint(clock, timeout_ms=_TIMEOUT_MS, instance_url=salesforce.instance_url)
    )
    rest = RestClient(tokens, api_version=salesforce.api_version, timeout_ms=_TIMEOUT_MS)
    limits = RequestLimits(handshake_ms=_TIMEOUT_MS, subscribe_ms=_TIMEOUT_MS)
    source = CometdSource(tokens, clock, api_version=salesforce.api_version, limits=limits)
    try:
        yield OrgChecks(
            tokens, rest, source, clock, flow=salesforce.auth.value, api_version=salesforce.api_version
        )
    finally:
        await rest.aclose()


# ---------------------------------------------------------------- pieces


def _action_sender(settings: Settings, rest: RestClient, clock: Clock) -> RestActionSender:
    return RestActionSender(
        rest,
        api_version=settings.salesforce.api_version,
        clock=clock,
        chunk=settings.actions.chunk,
        rate=settings.actions.rate,
    )


def _options(settings: Settings, supervisor: SupervisorOptions | None) -> ServiceOptions:
    ordering = settings.ordering
    return ServiceOptions(
        holder=f"{socket.gethostname()}/{os.getpid()}",
        lease_ms=settings.lease.ttl,
        renew_ms=settings.lease.renew,
        grace_ms=settings.shutdown.grace,
        journal_max_age_ms=settings.journal.max_age,
        journal_max_bytes=settings.journal.max_bytes,
        handler_names=tuple(settings.handlers_to_run()),
        ingest=IngestOptions(
            channels=settings.channels,
            start=settings.replay.start,
            on_expired=settings.replay.on_expired,
            spend_allocation=settings.replay.spend_allocation,
            lateness_ms=ordering.lateness,
            window=ordering.window,
            max_hold_ms=ordering.max_hold,
            max_catch_up_ms=ordering.max_catch_up,
            strict=ordering.strict,
            max_events=settings.commit.max_events,
            max_delay_ms=settings.commit.max_delay,
            hydrate=settings.state.hydrate,
            sweep_ms=settings.repair.sweep or None,
            snapshot=settings.snapshot.mode,
            snapshot_emit=settings.snapshot.emit,
            retention_ms=settings.state.retention or None,
        ),
        supervisor=supervisor,
    )


class _OnDemandSecretStore:
    """Refresh tokens that are kept, for commands that only read.

    A store is written to only with a token that Salesforce has just put in place of another.

    That one must not be lost, and the service finds it there; everything else about the store stays as it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def secret(self, name: str) -> str | None:
        """See :class:`consumer.ports.store.SecretStore`."""
        try:
            async with open_store(self._settings) as store:
                return await store.secret(name)
        except StoreEmpty:
            return None

    async def save_secret(self, name: str, value: str) -> None:
        """See :class:`consumer.ports.store.SecretStore`."""
        async with open_store(self._settings, read_only=False) as store:
            await store.save_secret(name, value)


def _ignore_failure(_: str) -> None:
    """A command ends with the error itself."""


def _grant(
    salesforce: SalesforceSettings,
    store: SecretStore | None,
    on_store_unavailable: Callable[[str], None] = _ignore_failure,
    redactor: Redactor | None = None,
) -> Grant:
    """The OAuth flow of the settings, whose completeness they have checked.

    Rotated refresh tokens are kept in ``store``.
    """
    match salesforce.auth:
        case AuthFlow.JWT:
            return JwtBearer(
                _required(salesforce.client_id),
                _required(salesforce.username),
                _required(salesforce.private_key),
                salesforce.login_url,
            )
        case AuthFlow.CLIENT_CREDENTIALS:
            return ClientCredentials(
                _required(salesforce.client_id), _required(salesforce.client_secret), salesforce.login_url
            )
        case AuthFlow.REFRESH_TOKEN:
            from consumer.salesforce.refresh_token_store import (
                RefreshTokenStore,  # with cryptography, as for JWT
            )

            configured_token = _required(salesforce.refresh_token)
            token_store = RefreshTokenStore(
                _required(store), configured_token, (redactor or Redactor()).learn, on_store_unavailable
            )
            return RefreshToken(
                _required(salesforce.client_id),
                salesforce.client_secret,
                configured_token,
                salesforce.login_url,
                token_store.save,
                token_store.load,
            )
        case AuthFlow.PASSWORD:
            return Password(
                _required(salesforce.client_id),
                _required(salesforce.client_secret),
                _required(salesforce.username),
                _required(salesforce.password),
                salesforce.login_url,
            )
        case AuthFlow.ACCESS_TOKEN:
            return StaticAccessToken(_required(salesforce.access_token), _required(salesforce.instance_url))


def _required(value: T | None) -> T:
    assert value is not None, "settings check what each flow needs"
    return value
