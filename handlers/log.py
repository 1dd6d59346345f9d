"""Log line for every lifecycle event.

The smallest possible handler, and the default of a new installation.
"""

from __future__ import annotations

from consumer import Context, LifecycleEvent, handler

__all__ = ["log"]


@handler(on=["*"])
async def log(event: LifecycleEvent, ctx: Context) -> None:
    """Log the event's type, run, cadence, target and step, as far as known."""
    fields = {
        "run": event.tracker_id,
        "cadence": event.cadence_name or event.cadence_id,
        "target": event.target_id,
        "step": event.step_title or event.step_type,
        "reason": event.reason,
        "late": event.late or None,
    }
    ctx.log.info(event.type, **{name: value for name, value in fields.items() if value is not None})
