"""The contract of the settings: every section and key with what it is, its unit, its default and why.

The models hold values; they read nothing. Spans of time are whole milliseconds in here and are written with their unit (``"15m"``) or as
a number of seconds. Secrets are ``SecretStr`` and carry ``FromFile``, which lets ``<key>_file`` name a file that holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.delivery.handler_settings import HandlerSpec
from consumer.domain.record_state import IDENTITY_RETENTION_MS
from consumer.durations import Milliseconds, humanize_ms
from consumer.settings.salesforce_settings import SalesforceSettings
from consumer.settings.values import FromFile, Secret, Section, conflict_error

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
    "StoreSettings",
    "without_password",
]


_CHANNEL = re.compile(r"/data/(ChangeEvents|\w+ChangeEvent|\w+__chn)")


_PASSWORD_IN_QUERY = re.compile(r"([?&]password=)[^&#]*")


def _channels(channels: tuple[str, ...]) -> tuple[str, ...]:
    for channel in channels:
        if not _CHANNEL.fullmatch(channel):
            raise ValueError(
                "must name change-event channels such as /data/ActionCadenceTrackerChangeEvent, "
                f"/data/ChangeEvents or /data/Cadences__chn, not {channel!r}"
            )
        if channels.count(channel) > 1:
            raise ValueError(f"names {channel} twice; keep one")
    return channels


def _store_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme == "redis+sentinel" and separator:
        raise ValueError(
            "redis+sentinel:// is not supported yet; name the primary with redis:// or rediss://"
        )
    if scheme in ("redis", "rediss", "unix") and separator:
        if not rest.strip("/"):
            raise ValueError(
                "must say where the server is, as in redis://cache:6379/0 or unix:///run/redis.sock?db=0"
            )
        return url
    if scheme != "sqlite" or not separator:
        raise ValueError(
            "must be sqlite:///FILE (three slashes: relative, four: absolute), redis://, rediss:// or unix://"
        )
    if not rest.startswith("/") or rest == "/":
        raise ValueError(
            "must name a file after three slashes (relative) or four (absolute), "
            "as in sqlite:///cadence.db or sqlite:////var/lib/cadence/cadence.db"
        )
    query = rest.partition("?")[2]
    if query not in ("", "synchronous=normal", "synchronous=full"):
        raise ValueError(
            f"takes ?synchronous=normal (default) or ?synchronous=full after the file, not ?{query}"
        )
    return url


def without_password(url: str) -> str:
    """``url`` as it may be shown. Redis takes the password in the query, too."""
    url = _PASSWORD_IN_QUERY.sub(r"\1***", url)
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


class StoreSettings(Section):
    """``store``: where state, journal and positions live."""

    url: Annotated[str, AfterValidator(_store_url), FromFile()] = Field(
        default="sqlite:///cadence.db",
        repr=False,
        description="sqlite:///FILE; default sqlite:///cadence.db in the working directory, so that a first run needs no server. "
        "With ?synchronous=full every commit waits for the disk. In production redis://, rediss:// (TLS) or unix:// of a Redis 7 or newer, "
        "or Valkey.",
    )
    prefix: str = Field(
        default="cadence",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="First part of every key, so that several orgs can share one Redis; default cadence. SQLite ignores it.",
    )

    @property
    def is_redis(self) -> bool:
        """Whether it is a server."""
        return not self.url.startswith("sqlite:")

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return Path(self.url.removeprefix("sqlite:///").partition("?")[0])

    @property
    def synchronous(self) -> Literal["normal", "full"]:
        """Whether a commit waits for the disk: ``full`` survives power failures, ``normal`` survives a killed process."""
        return "full" if self.url.endswith("?synchronous=full") else "normal"

    @property
    def shown(self) -> str:
        """The URL without a password, for people."""
        return without_password(self.url)


class ReplaySettings(Section):
    """``replay``: where a subscription begins, and what happens when Salesforce refuses the stored position."""

    start: Literal["latest", "earliest"] = Field(
        default="latest",
        description="Where a channel without a stored position begins: latest (default: new changes only) or earliest (all that "
        "Salesforce retains, up to 72 hours).",
    )
    on_expired: Literal["repair", "earliest", "latest", "halt"] = Field(
        default="repair",
        description="What to do when Salesforce refuses the stored position (it keeps events for 72 hours): repair (default) and earliest "
        "re-read everything it retains, latest goes on from now; each journals a system.gap unless nothing was missed, and asks REST for "
        "everything that was changed since the last poll that missed nothing. halt waits for a person.",
    )
    spend_allocation: bool = Field(
        default=False,
        description="Read everything that Salesforce retains even when that would use up what is left of the org's delivery allocation "
        "(default false: it waits until enough is free, and is not ready).",
    )


class OrderingSettings(Section):
    """``ordering``: how long changes are held so that an earlier one can still overtake them."""

    lateness: Milliseconds = Field(
        default=1_000,
        ge=0,
        le=60_000,
        description="Time with answered polls after which nothing earlier is expected; default 1s. Every change waits this long.",
    )
    window: int = Field(
        default=1_000,
        ge=1,
        le=100_000,
        description="Changes arriving after a held one that release it without waiting, so that a backlog flows at full speed; "
        "default 1000.",
    )
    max_hold: Milliseconds = Field(
        default=5_000,
        ge=0,
        le=600_000,
        description="Longest hold even when polls are not answered; default 5s. At least ordering.lateness.",
    )
    strict: bool = Field(
        default=True,
        description="Do not trust one channel's documented order (default true); false releases complete transactions at once.",
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
    """``repair``: what Salesforce is asked for because the stream may not have told it."""

    sweep: Milliseconds = Field(
        default=3_600_000,
        ge=0,
        description="How often REST is asked what changed meanwhile (default 1h), so that a change that Salesforce never published is "
        "noticed; about one request for each object and 200 changed records. 0 switches it off.",
    )


class SnapshotSettings(Section):
    """``snapshot``: reading everything that Salesforce holds, beside the stream."""

    mode: Literal["never", "initial", "when_needed"] = Field(
        default="never",
        description="When every run and step is read over REST: never (default; what is not known is looked up when it changes), initial "
        "(when the store is new), when_needed (that, and when changes were missed longer ago than the 15 days for which Salesforce "
        "remembers deletions). About one request for 1,000 records.",
    )
    emit: bool = Field(
        default=False,
        description="Tell handlers of records that only a snapshot tells of, with origin snapshot (default false: they become known in "
        "silence). What differs from what was known is always told, with origin repair.",
    )


class StateSettings(Section):
    """``state``: what is known of records."""

    hydrate: bool = Field(
        default=True,
        description="Look a run up that was never seen before its changes are interpreted (default true), so that events name cadence and "
        "target. A step's run is always looked up: it orders the step's events.",
    )
    retention: Milliseconds = Field(
        default=90 * 86_400_000,
        ge=0,
        description="How long an ended run and its steps are known after they were last heard of (default 90d: dispositions and "
        "attributions come in for weeks); a later change is told like that of a record never seen before. At least 4d, or 0 for ever. "
        "What is deleted is remembered for 4d.",
    )

    @field_validator("retention")
    @classmethod
    def _check_retention(cls, retention: int) -> int:
        if 0 < retention < IDENTITY_RETENTION_MS:
            raise ValueError(
                "must be at least 4d, because Salesforce may deliver a change again for so long, or 0 to keep ended runs for ever, "
                f"not {humanize_ms(retention)}"
            )
        return retention


class JournalSettings(Section):
    """``journal``: how much of it is kept. What a handler still needs is kept whatever these say."""

    max_age: Milliseconds = Field(
        default=30 * 86_400_000,
        ge=60_000,
        description="Age of an event at which the journal lets go of it; default 30d. What a configured handler, a blocked run or a replay "
        "still needs is kept all the same.",
    )
    max_bytes: int = Field(
        default=1_073_741_824,
        ge=1_000_000,
        description="Bytes that the journal may take, about; default 1073741824 (1 GiB, some 700,000 events). When a handler needs more it "
        "is kept and the service is not ready.",
    )


class CommitSettings(Section):
    """``commit``: how much goes into one transaction; whichever limit comes first."""

    max_events: int = Field(
        default=500,
        ge=1,
        le=10_000,
        description="Changes in one commit; default 500, where the cost of a transaction no longer matters.",
    )
    max_delay: Milliseconds = Field(
        default=20,
        ge=0,
        le=10_000,
        description="Longest wait of a change for others to share its commit; default 20ms, unnoticed next to ordering.lateness.",
    )


class ActionsSettings(Section):
    """``actions``: what is done in Salesforce, for handlers and for ``cadence-consumer actions``."""

    chunk: int = Field(
        default=100,
        ge=1,
        le=200,
        description="Inputs sent in one call; default 100, which scripts in the wild are known to send. Salesforce documents no limit; 200 "
        "is the usual one of its actions.",
    )
    rate: float = Field(
        default=5.0,
        gt=0,
        allow_inf_nan=False,
        description="Most calls per second, of all handlers together; default 5, so that a handler that runs wild does not use up the "
        "org's API requests at once.",
    )


class HttpSettings(Section):
    """``http``: probes, metrics and the API."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; default 127.0.0.1 (this machine only). In a container: 0.0.0.0.",
    )
    port: int = Field(
        default=8080, ge=0, le=65_535, description="TCP port; default 8080. 0 takes a free one and logs it."
    )
    token: Secret | None = Field(
        default=None,
        description="Bearer token that everything under /api needs; default none, which keeps the API closed.",
    )


class LogSettings(Section):
    """``log``: how the service speaks, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity that is written; default info."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="console, json (one object a line), or auto (default): console on a terminal, json elsewhere.",
    )


class LeaseSettings(Section):
    """``lease``: which of several identical replicas works."""

    ttl: Milliseconds = Field(
        default=15_000,
        ge=1_000,
        le=300_000,
        description="How long a silent holder keeps the lease; default 15s. A standby takes over within this time plus 2 s.",
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
        description="From the signal until running handlers are cancelled; default 25s, less than the 30 s after which "
        "Kubernetes kills.",
    )


HandlerName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class Settings(BaseSettings):
    """Everything the service is told."""

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
        description="What is done with lifecycle events, by name; default: the built-in log handler alone.",
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
        """Only what it is given: ``loading`` reads file and environment, so that building one in a test reads neither."""
        return (init_settings,)

    def handlers_to_run(self) -> dict[str, HandlerSpec]:
        """The configured handlers; the built-in log alone when there are none, so that a first run shows something."""
        return self.handlers or {"log": HandlerSpec(use="log")}

    def enabled_handlers(self) -> list[str]:
        """Names of those that are to run."""
        return [name for name, spec in self.handlers_to_run().items() if spec.enabled]

    def secrets(self) -> Iterator[str]:
        """Every secret value in it, for the logs to be kept free of."""
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
