"""What the settings say about one handler: the section ``handlers.<name>``.

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
    """One enabled handler."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: str = Field(
        min_length=1,
        description="Which handler: the name of a built-in or installed one (`log`, `jsonl`, …), or `module:attribute` for your own.",
    )
    enabled: bool = Field(
        default=True,
        description="Off: not loaded, keeps its place, and goes on from there when it is on again.",
    )
    on: Annotated[
        tuple[str, ...] | None, BeforeValidator(_split_list, json_schema_input_type=str | list[str])
    ] = Field(
        default=None,
        description="Event types it gets, exact or as patterns (`run.ended.*`); default: what the handler itself says.",
    )
    start: Annotated[Start, BeforeValidator(_parse_start)] = Field(
        default="latest",
        description="Where a new handler begins: `latest` (what comes from now on), `earliest` (all the journal holds), or the time of the "
        "first event it gets (ISO 8601, UTC where it names no zone). Has no effect once the handler has a place.",
    )
    origins: Annotated[
        frozenset[Origin], BeforeValidator(_split_list, json_schema_input_type=str | list[str])
    ] = Field(
        default=frozenset({Origin.STREAM, Origin.GAP, Origin.REPAIR, Origin.TIMER}),
        description="How the events it gets came to be known. Without `snapshot`, because a first snapshot can hold every record there is.",
    )
    max_age: Annotated[Milliseconds, Field(gt=0)] | None = Field(
        default=None,
        description="Events older than this when their turn comes are left out, such as `24h` after a long downtime; default: none are.",
    )
    concurrency: Annotated[int, Field(ge=1, le=1_000)] | None = Field(
        default=None,
        description="How many calls run at once, never two for one run; default 8, and 1 for handlers that take batches.",
    )
    timeout: Annotated[Milliseconds, Field(gt=0)] = Field(
        default=30_000,
        description="How long one call may take; a call that takes longer is cancelled and counts as a failed attempt.",
    )
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Most events per second, spaced evenly, attempts counted; default: no limit.",
    )
    max_attempts: int = Field(
        default=10,
        ge=1,
        description="Attempts before `on_failure` decides; ten take about four minutes. A restart goes on counting.",
    )
    on_failure: OnFailure = Field(
        default="dead_letter",
        description="After `max_attempts`: `dead_letter` keeps the event aside and goes on, `block` tries on and holds its run back, "
        "`skip` goes on without it, which loses it for this handler.",
    )
    dead_letter_limit: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000,
        description="Dead letters at which the handler stops, losing nothing, and the service is not ready (default 1000), so that a bad "
        "deploy does not drain into them. It goes on when enough of them are retried or discarded.",
    )
    ignore_own_changes: bool = Field(
        default=True,
        description="Leave out events of changes that this very handler made by `ctx.actions` (default true), so that it never answers its "
        "own echo; other handlers get them.",
    )
    allow_actions_on_replay: bool = Field(
        default=False,
        description="Whether `ctx.actions` may be used for events that a replay delivers again; default false: what they led to has been "
        "done before, so a handler that wants to act then has its event put aside as a dead letter.",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,  # may hold secrets
        description="The handler's own settings; `handlers list` shows what each takes.",
    )
