"""Settings of one handler: the section ``handlers.<name>``.

The handler's own settings (``handlers.<name>.settings.<key>``) are passed on as they are; the handler's model validates them when it is
loaded, so that all problems of all handlers are reported at once.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from consumer.delivery.retry import OnFailure
from consumer.domain.lifecycle_events import Origin
from consumer.durations import Milliseconds

__all__ = ["HandlerSpec", "Start"]


def _parse_start(value: object) -> object:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("latest", "earliest"):
            return word
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(
                f'must be "latest", "earliest" or a time such as "2026-01-31T09:30:00Z", not {value!r}'
            ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    raise ValueError(f'must be "latest", "earliest" or a time such as "2026-01-31T09:30:00Z", not {value!r}')


def _split_list(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Start = Literal["latest", "earliest"] | datetime


class HandlerSpec(BaseModel):
    """Settings of an enabled handler."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: str = Field(
        min_length=1,
        description="The handler: name of a built-in or installed one (`log`, `jsonl`, …), or `module:attribute` for your own.",
    )
    enabled: bool = Field(
        default=True,
        description="Off: the handler is not loaded and keeps its cursor, from which it continues when it is on again.",
    )
    on: Annotated[
        tuple[str, ...] | None, BeforeValidator(_split_list, json_schema_input_type=str | list[str])
    ] = Field(
        default=None,
        description="Event types it gets, exact or as patterns (`run.ended.*`); default: those of the handler itself.",
    )
    start: Annotated[Start, BeforeValidator(_parse_start)] = Field(
        default="latest",
        description="Start of a new handler: `latest` (events from now on), `earliest` (all events of the journal), or the time of the "
        "first event it gets (ISO 8601, UTC where it names no zone). Has no effect once the handler has a cursor.",
    )
    origins: Annotated[
        frozenset[Origin], BeforeValidator(_split_list, json_schema_input_type=str | list[str])
    ] = Field(
        default=frozenset({Origin.STREAM, Origin.GAP, Origin.REPAIR, Origin.TIMER}),
        description="Origins of the events it gets. Without `snapshot`, because a first snapshot can contain every record of the org.",
    )
    max_age: Annotated[Milliseconds, Field(gt=0)] | None = Field(
        default=None,
        description="Age above which an event is left out when its turn comes, such as `24h` after a long downtime; default: no limit.",
    )
    concurrency: Annotated[int, Field(ge=1, le=1_000)] | None = Field(
        default=None,
        description="Number of calls at the same time, never two for one run; default 8, and 1 for handlers of batches.",
    )
    timeout: Annotated[Milliseconds, Field(gt=0)] = Field(
        default=30_000,
        description="Time limit of one call; a call that takes longer is cancelled and counts as a failed attempt.",
    )
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Largest number of events per second, spaced evenly, further attempts included; default: no limit.",
    )
    max_attempts: int = Field(
        default=10,
        ge=1,
        description="Attempts before `on_failure` decides; ten take about four minutes. Counting continues after a restart.",
    )
    on_failure: OnFailure = Field(
        default="dead_letter",
        description="After `max_attempts`: `dead_letter` makes the event a dead letter and continues, `block` makes further attempts and "
        "blocks its run, `skip` continues without the event, which is lost for this handler.",
    )
    dead_letter_limit: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000,
        description="Number of dead letters at which the handler is halted, without loss, and the service is not ready (default 1000), so "
        "that a bad deploy does not turn every event into one. It continues when enough of them are retried or discarded.",
    )
    ignore_own_changes: bool = Field(
        default=True,
        description="Leave out events of changes that this handler made by `ctx.actions` (default true), so that it never reacts to "
        "itself; other handlers get them.",
    )
    allow_actions_on_replay: bool = Field(
        default=False,
        description="Allow `ctx.actions` for events that a replay delivers again; default false: the actions may have been taken before, "
        "so an event whose handler uses them then becomes a dead letter.",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,  # may hold secrets
        description="The handler's own settings; `handlers list` shows those of each handler.",
    )
