"""The service as a process.

It is made, started, run until it is told to stop, and ended with an exit code.
"""

from __future__ import annotations

import structlog

from consumer.delivery.loading import LoadedHandler
from consumer.errors import StopService, StoreForeign, StoreUnavailable, first_error
from consumer.ingest.supervisor import SupervisorOptions
from consumer.inspection.status import read_status
from consumer.ports.observers.service_events import StoreReachable, StoreUnreachable, StoreWarningFound
from consumer.ports.store import Store
from consumer.process import ExitCode, stop_on_signals, tune_interpreter
from consumer.service import Service
from consumer.settings import Settings
from consumer.telemetry.logging import Redactor, configure_logging
from consumer.telemetry.service_telemetry import ServiceTelemetry
from consumer.telemetry.watchdogs import LoopWatch, RetentionWatch
from consumer.web.server import WebServer
from consumer.wiring import Instruments, load_enabled_handlers, make_instruments, make_service, make_store

__all__ = ["serve"]

_STORE_RETRY_AFTER_MS = 2_000


async def serve(settings: Settings, supervisor: SupervisorOptions | None = None) -> ExitCode:
    """Run a replica until SIGTERM or SIGINT; a second signal stops it at once.

    Args:
        settings: everything it is told.
        supervisor: waits and limits of sessions; the defaults of the supervisor when None.

    Returns:
        OK after an orderly stop, FAILED when something had to be cut short, UNAVAILABLE or NOT_PERMITTED when only a person can go on.

    Raises:
        SettingsError: handlers cannot be loaded.
    """
    redactor = Redactor(settings.secrets())
    configure_logging(settings.log.level, settings.log.format, redactor)
    log = structlog.get_logger("service")
    handlers = load_enabled_handlers(settings)
    instruments = make_instruments(settings, redactor)
    store = make_store(settings, read_only=False)
    web = _web_server(settings, store, instruments)
    try:
        await web.start()
    except OSError as error:
        log.error(
            "http_unavailable",
            host=settings.http.host,
            port=settings.http.port,
            error=error.strerror,
            action="set http.host and http.port to an address of this machine that is free, or end what listens there",
        )
        return ExitCode.UNAVAILABLE
    code = ExitCode.UNAVAILABLE
    try:
        log.info(
            "starting",
            store=store.url,
            channels=list(settings.channels),
            http=f"{settings.http.host}:{web.port}",
        )
        code = await _run(settings, store, handlers, instruments, supervisor)
    except* (StopService, StoreForeign) as group:
        cause = first_error(group)
        instruments.health.stopped(str(cause), "")
        log.error("stopped", code=getattr(cause, "code", "store_foreign"), error=str(cause))
        if getattr(cause, "permission", False):
            code = ExitCode.NOT_PERMITTED
    finally:
        await store.aclose()
        await web.aclose()
    return code


async def _run(
    settings: Settings,
    store: Store,
    handlers: list[LoadedHandler],
    instruments: Instruments,
    supervisor: SupervisorOptions | None,
) -> ExitCode:
    async with make_service(settings, store, handlers, instruments, supervisor=supervisor) as service:
        tune_interpreter()
        metrics = instruments.metrics
        async with LoopWatch(metrics), RetentionWatch(store, metrics, instruments.clock, settings.channels):
            with stop_on_signals(service.stop):
                await _open_until_available(store, instruments.tenure, service)
                return ExitCode.OK if await service.run() else ExitCode.FAILED


async def _open_until_available(store: Store, observer: ServiceTelemetry, service: Service) -> None:
    """Open the store, however often it takes.

    An unreachable store is no reason to exit, but to be not ready.
    """
    while True:
        try:
            await store.open()
        except StoreUnavailable as error:
            observer.observe(StoreUnreachable(error.why))
            if await service.stopping_within(_STORE_RETRY_AFTER_MS):
                return
        else:
            observer.observe(StoreReachable())
            for warning in await store.warnings():
                observer.observe(StoreWarningFound(warning))
            return


def _web_server(settings: Settings, store: Store, instruments: Instruments) -> WebServer:
    clock, token = instruments.clock, settings.http.token
    return WebServer(
        health=instruments.health,
        registry=instruments.metrics.registry,
        store=store,
        clock=clock,
        host=settings.http.host,
        port=settings.http.port,
        token=token.get_secret_value() if token is not None else None,
        service_status=lambda: read_status(
            store, settings.channels, settings.enabled_handlers(), clock.wall_ms()
        ),
    )
