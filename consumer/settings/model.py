"""Model of the settings: each key with its meaning, unit, default and reason.

The models hold values; they read nothing. Durations are whole milliseconds in here and are written with their unit (``"15m"``) or as a
number of seconds. Secrets are ``SecretStr`` with the marker ``FromFile``, which lets ``<key>_file`` name a file that contains them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.delivery.handler_settings import HandlerSpec
from consumer.domain.record_state import IDENTITY_RETENTION_MS
from consumer.durations import Milliseconds, humanize_ms
from consumer.settings.salesforce_settings import SalesforceSettings
from consumer.settings.store_settings import StoreSettings
from consumer.settings.values import Secret, Section, conflict_error

__all__ = [
    "ActionsSettings",
    "CommitSettings",
    "HttpSettings",
    "JournalSettings",
    "LeaseSettings",
    "LogSettings",
    "OrderingSettings",
    "RepairSettings",
    "ReplaySettings",
    "Settings",
    "ShutdownSettings",
    "StateSettings",
]


_CHANNEL = re.compile(r"/data/(ChangeEvents|\w+ChangeEvent|\w+__chn)")


def _channels(channels: tuple[str, ...]) -> tuple[str, ...]:
    for channel in channels:
        if not _CHANNEL.fullmatch(channel):
            raise ValueError(
                "must name change-event channels such as /data/ActionCadenceTrackerChangeEvent, "
                f"/data/ChangeEvents or /data/Cadences__chn, not {channel!r}"
            )
        if channels.count(channel) > 1:
            raise ValueError(f"contains {channel} twice; keep one")
    return channels


class ReplaySettings(Section):
    """``replay``: start of a subscription, and the policy for a refused position."""

    start: Literal["latest", "earliest"] = Field(
        default="latest",
        description="Where a channel without a stored position begins: latest (default: new changes only) or earliest (all that "
        "Salesforce retains, up to 72 hours).",
    )
    on_expired: Literal["repair", "earliest", "latest", "halt"] = Field(
        default="repair",
        description="What to do when Salesforce refuses the stored position (it keeps events for 72 hours): repair (default) and earliest "
        "re-read everything it retains, latest continues from now; each journals a system.gap unless nothing was missed, and queries REST "
        "for everything changed since the last poll that missed nothing. halt waits for a person.",
    )
    spend_allocation: bool = Field(
        default=False,
        description="Read everything that Salesforce retains even when that would use up the rest of the org's delivery allocation "
        "(default false: the service waits until enough is free, and is not ready).",
    )


class OrderingSettings(Section):
    """``ordering``: time to hold changes, so that earlier ones can overtake them."""

    lateness: Milliseconds = Field(
        default=1_000,
        ge=0,
        le=60_000,
        description="Time with answered polls after which no earlier change is expected; default 1s. Every change waits this long.",
    )
    window: int = Field(
        default=1_000,
        ge=1,
        le=100_000,
        description="Number of later changes that release a held one without waiting, so that a backlog flows at full speed; default 1000.",
    )
    max_hold: Milliseconds = Field(
        default=5_000,
        ge=0,
        le=600_000,
        description="Longest time for which a change is held while a session is open; default 5s. At least ordering.lateness.",
    )
    max_catch_up: Milliseconds = Field(
        default=120_000,
        ge=0,
        le=3_600_000,
        description="Longest time, while a session is open, that changes wait after its opening until every channel has caught up; "
        "default 2m. Changes that are released earlier than that are counted, and may make others late.",
    )
    strict: bool = Field(
        default=True,
        description="Do not rely on the documented order within one channel (default true); false releases complete transactions at once.",
    )

    @model_validator(mode="after")
    def _check_max_hold(self) -> Self:
        if self.max_hold < self.lateness:
            raise conflict_error(
                "max_hold",
                f"must be at least ordering.lateness ({humanize_ms(self.lateness)})",
                self.max_hold,
            )
        return self


class RepairSettings(Section):
    """``repair``: queries for changes that the stream may have missed."""

    sweep: Milliseconds = Field(
        default=3_600_000,
        ge=0,
        description="Interval at which REST is queried for changes (default 1h), so that a change that Salesforce never published is "
        "noticed; about one request per object and 200 changed records. 0 disables it.",
    )


class SnapshotSettings(Section):
    """``snapshot``: reading all of Salesforce's records, beside the stream."""

    mode: Literal["never", "initial", "when_needed"] = Field(
        default="never",
        description="When every run and step is read over REST: never (default; an unknown record is looked up when it changes), initial "
        "(when the store is new), when_needed (initially, and when changes were missed longer ago than the 15 days for which Salesforce "
        "logs deletions). About one request per 1,000 records.",
    )
    emit: bool = Field(
        default=False,
        description="Emit events for records first seen in a snapshot, with origin snapshot (default false: their state is stored without "
        "events). Differences from a known state are always emitted, with origin repair.",
    )


class StateSettings(Section):
    """``state``: stored state of records."""

    hydrate: bool = Field(
        default=True,
        description="Look up a run that was never seen before interpreting its changes (default true), so that events name cadence and "
        "target. A step's run is always looked up: it orders the step's events.",
    )
    retention: Milliseconds = Field(
        default=90 * 86_400_000,
        ge=0,
        description="Time for which the state of an ended run and its steps is kept after their last activity (default 90d: dispositions "
        "and attributions arrive for weeks); a later change is reported as that of an unknown record. At least 4d, or 0 to keep it "
        "forever. Deletions are kept for 4d.",
    )

    @field_validator("retention")
    @classmethod
    def _check_retention(cls, retention: int) -> int:
        if 0 < retention < IDENTITY_RETENTION_MS:
            raise ValueError(
                "must be at least 4d, because Salesforce may deliver a change again for that long, or 0 to keep ended runs forever, "
                f"not {humanize_ms(retention)}"
            )
        return retention


class JournalSettings(Section):
    """``journal``: retention. Entries that a handler still needs are kept."""

    max_age: Milliseconds = Field(
        default=30 * 86_400_000,
        ge=60_000,
        description="Age at which an event is removed from the journal; default 30d. Events that a configured handler, a blocked run or a "
        "replay still needs are kept.",
    )
    max_bytes: int = Field(
        default=1_073_741_824,
        ge=1_000_000,
        description="Approximate maximum size of the journal in bytes; default 1073741824 (1 GiB, some 700,000 events). Events that a "
        "handler still needs are kept beyond it, and the service is not ready.",
    )


class CommitSettings(Section):
    """``commit``: size of one transaction; the limit reached first applies."""

    max_events: int = Field(
        default=500,
        ge=1,
        le=10_000,
        description="Maximum number of changes per commit; default 500, where the cost of a transaction no longer matters.",
    )
    max_delay: Milliseconds = Field(
        default=20,
        ge=0,
        le=10_000,
        description="Longest wait of a change for others to share its commit; default 20ms, negligible beside ordering.lateness.",
    )


class ActionsSettings(Section):
    """``actions``: actions by handlers and by ``cadence-consumer actions``."""

    chunk: int = Field(
        default=100,
        ge=1,
        le=200,
        description="Maximum number of inputs per call; default 100, which published scripts are known to send. Salesforce documents no "
        "limit; 200 is usual for its actions.",
    )
    rate: float = Field(
        default=5.0,
        gt=0,
        allow_inf_nan=False,
        description="Maximum number of calls per second, of all handlers together; default 5, so that a runaway handler does not use up "
        "the org's API requests at once.",
    )


class HttpSettings(Section):
    """``http``: probes, metrics and the API."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; default 127.0.0.1 (this machine only). In a container: 0.0.0.0.",
    )
    port: int = Field(
        default=8080, ge=0, le=65_535, description="TCP port; default 8080. 0 selects a free one and logs it."
    )
    token: Secret | None = Field(
        default=None,
        description="Bearer token that every request under /api requires; default none, which keeps the API closed.",
    )


class LogSettings(Section):
    """``log``: level and format of the log, which goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest severity that is written; default info."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="console, json (one object per line), or auto (default): console on a terminal, json elsewhere.",
    )


class LeaseSettings(Section):
    """``lease``: election of the active one among identical replicas."""

    ttl: Milliseconds = Field(
        default=15_000,
        ge=1_000,
        le=300_000,
        description="Time for which a silent holder keeps the lease; default 15s. A standby takes over within this time plus 2 s.",
    )
    renew: Milliseconds = Field(
        default=5_000,
        ge=100,
        description="Time between renewals; default 5s, so that two may fail. At most half of lease.ttl.",
    )

    @model_validator(mode="after")
    def _check_renew(self) -> Self:
        if self.renew * 2 > self.ttl:
            raise conflict_error(
                "renew", f"must be at most half of lease.ttl ({humanize_ms(self.ttl)})", self.renew
            )
        return self


class ShutdownSettings(Section):
    """``shutdown``: the end of the process."""

    grace: Milliseconds = Field(
        default=25_000,
        ge=0,
        le=3_600_000,
        description="Time from the signal until running handlers are cancelled; default 25s, less than the 30 s after which Kubernetes "
        "kills the process.",
    )


HandlerName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class Settings(BaseSettings):
    """Settings of the service, all sections."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    salesforce: SalesforceSettings = Field(default_factory=SalesforceSettings)
    channels: Annotated[tuple[str, ...], AfterValidator(_channels)] = Field(
        default=("/data/ActionCadenceTrackerChangeEvent", "/data/ActionCadenceStepTrackerChangeEvent"),
        min_length=1,
        description="Change-event channels; default the two single-entity ones. One custom channel with both entities is better: "
        "one stream, one order, one position.",
    )
    store: StoreSettings = Field(default_factory=StoreSettings)
    replay: ReplaySettings = Field(default_factory=ReplaySettings)
    ordering: OrderingSettings = Field(default_factory=OrderingSettings)
    repair: RepairSettings = Field(default_factory=RepairSettings)
    snapshot: SnapshotSettings = Field(default_factory=SnapshotSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    journal: JournalSettings = Field(default_factory=JournalSettings)
    commit: CommitSettings = Field(default_factory=CommitSettings)
    handlers: dict[HandlerName, HandlerSpec] = Field(
        default_factory=dict,
        repr=False,
        description="Handlers of lifecycle events, by name; default: only the built-in log handler.",
    )
    actions: ActionsSettings = Field(default_factory=ActionsSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    lease: LeaseSettings = Field(default_factory=LeaseSettings)
    shutdown: ShutdownSettings = Field(default_factory=ShutdownSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use the arguments only: ``loader`` reads file and environment.

        Constructing settings in a test therefore reads neither.
        """
        return (init_settings,)

    def handlers_to_run(self) -> dict[str, HandlerSpec]:
        """Return the configured handlers; if there are none, the built-in log handler.

        A first run therefore shows its events.
        """
        return self.handlers or {"log": HandlerSpec(use="log")}

    def enabled_handlers(self) -> list[str]:
        """List the names of the enabled handlers."""
        return [name for name, spec in self.handlers_to_run().items() if spec.enabled]

    def secrets(self) -> Iterator[str]:
        """Yield every secret value, so that logs can be kept free of them."""
        yield from _secrets_in(self)
        parts = urlsplit(self.store.url)
        if parts.password:
            yield parts.password
        yield from parse_qs(parts.query).get("password", ())


def _secrets_in(model: BaseModel) -> Iterator[str]:
    for name in type(model).model_fields:
        value: Any = getattr(model, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from _secrets_in(value)
