"""The composition root: the only place that knows settings and picks adapters.

:func:`serve` wires a replica and runs it until it is told to stop; :func:`open_store` gives commands a store to look into. Components take
plain arguments and know nothing of settings.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from random import Random
from typing import TypeVar

import structlog
from pydantic import SecretStr

from consumer.clock import Clock, SystemClock
from consumer.delivery.loading import LoadedHandler, load_handlers
from consumer.domain.lifecycle import OrgInfo
from consumer.errors import SettingsError, StopService, StoreEmpty, StoreForeign, StoreUnavailable
from consumer.ingest.options import IngestOptions
from consumer.ingest.supervisor import SupervisorOptions
from consumer.inspection import OrgChecks, ReportFinding, check_store
from consumer.inspection.findings import FailureKind, failed, passed
from consumer.inspection.status import read_status
from consumer.ports.observers import SupervisorEvents
from consumer.ports.store import SecretStore, Store
from consumer.salesforce.action_sender import RestActionSender
from consumer.salesforce.auth import (
    ClientCredentials,
    Grant,
    JwtBearer,
    Password,
    RefreshToken,
    StaticAccessToken,
    TokenCache,
    TokenEndpoint,
)
from consumer.salesforce.cometd_client import RequestLimits
from consumer.salesforce.cometd_session import CometdSource
from consumer.salesforce.instance import InstanceName
from consumer.salesforce.rest import RestClient
from consumer.service import Service, ServiceOptions
from consumer.settings import AuthFlow, SalesforceSettings, Settings
from consumer.stores.sqlite.sqlite_store import SqliteStore
from consumer.telemetry.delivery_events import DeliveryTelemetry
from consumer.telemetry.health import COMMIT_MARGIN_MS, Health
from consumer.telemetry.ingest_events import IngestTelemetry, TenureTelemetry
from consumer.telemetry.log_throttle import LogThrottle
from consumer.telemetry.logging import Redactor, configure_logging
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.org_limits import OrgLimitsWatch
from consumer.telemetry.retention_events import RetentionTelemetry
from consumer.telemetry.watchdogs import LoopWatch, RetentionWatch
from consumer.web.server import WebServer

__all__ = ["load_enabled_handlers", "make_service", "open_rest", "open_store", "run_checks", "serve"]

T = TypeVar("T")

EXIT_OK, EXIT_FORCED, EXIT_UNAVAILABLE, EXIT_NOT_PERMITTED = 0, 1, 69, 77
_STORE_RETRY_AFTER_MS = 2_000
_TIMEOUT_MS = 15_000
"""For each answer when a person waits for it."""


async def serve(settings: Settings, supervisor: SupervisorOptions | None = None) -> int:
    """Run a replica until SIGTERM or SIGINT; a second signal stops it at once.

    Args:
        settings: everything it is told.
        supervisor: waits and limits of sessions; the defaults of the supervisor when None.

    Returns:
        The exit code: 0 after an orderly stop, 1 when something had to be cut short, 69 or 77 when only a person can go on.

    Raises:
        SettingsError: handlers cannot be loaded.
    """
    redactor = Redactor(settings.secrets())
    configure_logging(settings.log.level, settings.log.format, redactor)
    log = structlog.get_logger("service")
    handlers = load_enabled_handlers(settings)
    clock = SystemClock()
    metrics = Metrics()
    health = Health(
        settings.channels,
        clock.monotonic_ms(),
        commit_limit_ms=settings.ordering.max_hold + COMMIT_MARGIN_MS,
    )
    store = _store(settings, read_only=False)
    web = WebServer(
        health=health,
        registry=metrics.registry,
        store=store,
        clock=clock,
        host=settings.http.host,
        port=settings.http.port,
        token=_reveal(settings.http.token),
        service_status=lambda: read_status(
            store, settings.channels, settings.enabled_handlers(), clock.wall_ms()
        ),
    )
    try:
        await web.start()
    except OSError as error:
        log.error(
            "http_unavailable",
            host=settings.http.host,
            port=settings.http.port,
            why=error.strerror,
            action="set http.host and http.port to an address of this machine that is free, or end what listens there",
        )
        return EXIT_UNAVAILABLE
    code = EXIT_UNAVAILABLE
    try:
        throttle = LogThrottle()
        tenure_events = TenureTelemetry(metrics, health, clock, throttle)
        log.info(
            "starting",
            store=store.url,
            channels=list(settings.channels),
            http=f"{settings.http.host}:{web.port}",
        )
        async with make_service(
            settings,
            store,
            handlers,
            metrics,
            health,
            tenure_events,
            clock,
            redactor,
            supervisor=supervisor,
            throttle=throttle,
        ) as service:
            _tune_garbage_collector()
            _shorten_switch_interval()
            retention = RetentionWatch(store, metrics, clock, settings.channels)
            async with LoopWatch(metrics), retention:
                with _stop_on_signals(service):
                    await _open_until_available(store, tenure_events, service)
                    code = EXIT_OK if await service.run() else EXIT_FORCED
    except* (StopService, StoreForeign) as group:
        cause = _unwrap(group)
        health.stopped(str(cause), "")
        log.error("stopped", code=getattr(cause, "code", "store_foreign"), why=str(cause))
        if getattr(cause, "permission", False):
            code = EXIT_NOT_PERMITTED
    finally:
        await store.aclose()
        await web.aclose()
    return code


@asynccontextmanager
async def make_service(
    settings: Settings,
    store: Store,
    handlers: list[LoadedHandler],
    metrics: Metrics,
    health: Health,
    tenure_events: TenureTelemetry,
    clock: Clock,
    redactor: Redactor,
    session_events: SupervisorEvents | None = None,
    supervisor: SupervisorOptions | None = None,
    throttle: LogThrottle | None = None,
) -> AsyncIterator[Service]:
    """A replica on an opened store; ``session_events`` stands in for the usual telemetry of sessions."""
    tokens = TokenCache(
        _grant(settings.salesforce, store, tenure_events.store_unavailable, redactor),
        TokenEndpoint(clock),
        lambda token: redactor.learn(token.get_secret_value()),
    )
    log = structlog.get_logger("service")
    version = settings.salesforce.api_version
    rest = RestClient(tokens, api_version=version)
    instance = InstanceName(rest, lambda why: log.info("instance_unknown", why=why))
    ingest_events = IngestTelemetry(metrics, health, clock, settings.channels, throttle)
    service = Service(
        store,
        CometdSource(tokens, clock, api_version=settings.salesforce.api_version),
        OrgOfToken(tokens),
        instance,
        rest,
        handlers,
        _options(settings, supervisor),
        clock,
        Random(),  # noqa: S311 - jitter
        events=tenure_events,
        ingest_events=ingest_events,
        session_events=session_events or ingest_events,
        delivery_events=DeliveryTelemetry(metrics, health, throttle),
        retention_events=RetentionTelemetry(metrics, health),
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


@asynccontextmanager
async def open_store(settings: Settings, *, read_only: bool = True) -> AsyncIterator[Store]:
    """The configured store, for looking, or for what people change by hand.

    Raises:
        StoreUnavailable: it cannot be reached, or nothing has been written yet.
        StoreForeign: it is of a newer format.
    """
    store = _store(settings, read_only=read_only)
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
            TokenCache(_grant(settings.salesforce, store), TokenEndpoint(clock)),
            api_version=settings.salesforce.api_version,
        )
        stack.push_async_callback(rest.aclose)
        yield rest, _action_sender(settings, rest, clock)


async def run_checks(settings: Settings, report: ReportFinding, *, can_sign_in: bool) -> None:
    """Look whether everything is there that the service needs; changes nothing.

    Args:
        settings: everything the service would be told.
        report: takes each finding as soon as it is known.
        can_sign_in: whether the settings say how; without, nothing is asked of Salesforce.
    """
    try:
        names = [handler.name for handler in load_enabled_handlers(settings)]
        report(passed("handlers", f"{', '.join(names)} can be loaded"))
    except SettingsError as error:
        for problem in error.problems:
            report(failed("handlers", str(problem), "", FailureKind.SETTINGS))
    clock = SystemClock()
    store_facts = await check_store(_store(settings, read_only=True), settings.channels, clock, report)
    if not can_sign_in:
        OrgChecks.skip_all("the settings have to be right first", report)
        return
    salesforce = settings.salesforce
    tokens = TokenCache(
        _grant(salesforce, _OnDemandSecretStore(settings)), TokenEndpoint(clock, timeout_ms=_TIMEOUT_MS)
    )
    rest = RestClient(tokens, api_version=salesforce.api_version, timeout_ms=_TIMEOUT_MS)
    limits = RequestLimits(handshake_ms=_TIMEOUT_MS, subscribe_ms=_TIMEOUT_MS)
    source = CometdSource(tokens, clock, api_version=salesforce.api_version, limits=limits)
    examination = OrgChecks(
        tokens, rest, source, clock, flow=salesforce.auth.value, api_version=salesforce.api_version
    )
    try:
        await examination.run(settings.channels, store_facts, report)
    finally:
        await rest.aclose()


# ---------------------------------------------------------------- pieces


def _tune_garbage_collector() -> None:
    """Tell the cyclic garbage collector what kind of heap this is.

    Thousands of record states live long and hold no cycles; looking through them again and again, as the default thresholds make it do,
    costs an eighth of all processor time. What was loaded until now stays for ever and is not looked at any more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _shorten_switch_interval() -> None:
    """Have the event loop give the interpreter's lock to the store's threads when they ask for it, not five milliseconds later.

    A commit asks a few dozen times; the loop, with a backlog before it, would make it wait each time, and then wait for the commit.
    """
    sys.setswitchinterval(0.0005)


def _action_sender(settings: Settings, rest: RestClient, clock: Clock) -> RestActionSender:
    return RestActionSender(
        rest,
        api_version=settings.salesforce.api_version,
        clock=clock,
        chunk=settings.actions.chunk,
        rate=settings.actions.rate,
    )


def _store(settings: Settings, *, read_only: bool) -> Store:
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


async def _open_until_available(store: Store, events: TenureTelemetry, service: Service) -> None:
    """Open the store, however often it takes: an unreachable one is no reason to exit, but to be not ready."""
    while True:
        try:
            await store.open()
        except StoreUnavailable as error:
            events.store_unavailable(error.why)
            if await service.stopping_within(_STORE_RETRY_AFTER_MS):
                return
        else:
            events.store_available()
            for warning in await store.warnings():
                events.store_warning(warning)
            return


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
    """Kept refresh tokens, for who only looks: a store is written to only with a token that Salesforce has just put in place of another.

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
    """The OAuth flow of the settings, whose completeness they have checked; rotated refresh tokens are kept in ``store``."""
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


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


class OrgOfToken:
    """The org that sessions lead to; remembered while a token is being renewed."""

    def __init__(self, tokens: TokenCache) -> None:
        self._tokens = tokens
        self._org: OrgInfo | None = None

    def __call__(self) -> OrgInfo:
        token = self._tokens.current
        if token is not None:
            self._org = OrgInfo(token.org_id, token.instance_url)
        assert self._org is not None, "nothing is committed before a session has authenticated"
        return self._org


@contextmanager
def _stop_on_signals(service: Service) -> Iterator[None]:
    """The first SIGTERM or SIGINT stops in order, the second at once."""
    loop = asyncio.get_running_loop()
    received = 0

    def on_signal() -> None:
        nonlocal received
        received += 1
        if received == 1:
            service.stop()
        else:
            os._exit(EXIT_FORCED)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _unwrap(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
