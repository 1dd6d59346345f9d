from __future__ import annotations

from datetime import UTC, datetime

import structlog
from structlog.testing import capture_logs

from consumer import Context, LifecycleEvent
from handlers.log import log


def no_http():
    raise AssertionError("the log handler needs no network")


async def test_a_line_names_type_run_cadence_target_step_and_lateness_and_leaves_out_what_is_unknown():
    full = LifecycleEvent(
        id="e1",
        type="step.ended.skipped",
        time=datetime(2026, 3, 1, tzinfo=UTC),
        tracker_id="78A000000000001EAA",
        cadence_name="Outbound",
        cadence_id="77A000000000001EAA",
        target_id="00Q000000000001EAA",
        step_title="First Touch",
        reason="ManuallySkipped",
        late=True,
    )
    sparse = LifecycleEvent(id="e2", type="system.gap", time=full.time)
    with capture_logs() as lines:
        context = Context(handler="log", log=structlog.get_logger(), http=no_http)
        await log(full, context)
        await log(sparse, context)
    assert lines == [
        {
            "event": "step.ended.skipped",
            "log_level": "info",
            "handler": "log",
            "run": "78A000000000001EAA",
            "cadence": "Outbound",
            "target": "00Q000000000001EAA",
            "step": "First Touch",
            "reason": "ManuallySkipped",
            "late": True,
        },
        {"event": "system.gap", "log_level": "info", "handler": "log"},
    ]
