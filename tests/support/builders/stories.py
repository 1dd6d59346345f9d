"""Twelve stories of cadence life, told to the simulated org, consumed by the real ingest, read back by the ``timeline`` command.

``python -m tests.support.builders.stories`` writes what is printed into ``tests/data/timelines``; a test compares, and the page of the domain shows one.
"""

import asyncio
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

from consumer.domain.lifecycle import OrgInfo as Where
from consumer.sandbox import ManualClock, Sandbox, SandboxOptions
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.builders.changes import RUN_CHANNEL, STEP_CHANNEL
from tests.support.rigs.stepwise import tenure

KEPT = Path(__file__).parents[2] / "data" / "timelines"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 24 * 3_600_000


class Told:
    """A simulated org whose time moves when the story says so."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sandbox = Sandbox(SandboxOptions(seed=4, clock=self.clock))
        self.world = self.sandbox.world

    def later(self, ms: int) -> None:
        """Time passes."""
        self.clock.advance(ms)

    async def rows(self, entity: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What REST would say."""
        records = self.sandbox.org.records[entity]
        return {one: {name: records[one].get(name) for name in fields} for one in ids if one in records}


Story = Callable[[Told], str]


def enrol_to_finish(told: Told) -> str:
    run = told.world.enrol("Event Follow-up")
    told.later(20 * MINUTE)
    told.world.open_step(run)
    told.later(5 * MINUTE)
    told.world.complete_step(run, manual=False)
    told.later(2 * HOUR)
    told.world.complete_step(run, manual=False)
    told.later(HOUR)
    told.world.complete_step(run, manual=False)
    told.later(DAY)
    told.world.set_disposition(run, "Success")
    return run


def skip(told: Told) -> str:
    run = told.world.enrol("Event Follow-up")
    told.later(HOUR)
    told.world.skip_step(run)
    return run


def manual_complete(told: Told) -> str:
    run = told.world.enrol("Event Follow-up")
    told.later(HOUR)
    told.world.complete_step(run, manual=True)
    return run


def pause_and_resume(told: Told) -> str:
    run = told.world.enrol("Event Follow-up")
    told.later(HOUR)
    told.world.pause(run)
    told.later(3 * HOUR)
    told.world.resume(run)
    return run


def scheduled_resume(told: Told) -> str:
    run = told.world.enrol("Event Follow-up")
    told.later(HOUR)
    told.world.pause(run, resume_at=told.clock() + 12 * HOUR)
    told.later(12 * HOUR + 2 * MINUTE)
    told.world.resume(run)
    return run


def removal_with_disposition(told: Told) -> str:
    run = told.world.enrol("Event Follow-up")
    told.later(HOUR)
    told.world.remove(run, "Not Interested")
    return run


def exit_rule(told: Told) -> str:
    run = told.world.enrol("Event Follow-up")
    told.later(HOUR)
    told.world.exit(run)
    return run


def lead_conversion(told: Told) -> str:
    run = told.world.enrol("Event Follow-up")
    told.later(HOUR)
    told.world.convert(run)
    return run


def daisy_chain(told: Told) -> str:
    run = told.world.enrol("Outbound Prospecting")
    told.later(HOUR)
    told.world.complete_step(run, manual=False)
    told.later(2 * DAY + MINUTE)
    told.world.complete_step(run, manual=False)
    for _ in range(2):
        told.later(HOUR)
        told.world.complete_step(run, manual=False)
    return str(told.sandbox.org.get("ActionCadenceTracker", run)["TargetId"])


def error_and_retry(told: Told) -> str:
    run = told.world.enrol("Inbound Demo Request")
    told.later(30 * MINUTE)
    told.world.queue_email(run)
    told.later(MINUTE)
    told.world.fail(run, "MAIL_PROVIDER_RATE_LIMIT_REACHED")
    told.later(HOUR)
    told.world.retry(run)
    told.later(MINUTE)
    told.world.queue_email(run)
    told.later(MINUTE)
    told.world.complete_step(run)
    return run


def reassign(told: Told) -> str:
    run = told.world.enrol("Event Follow-up", owner=told.world.users[0])
    told.later(HOUR)
    told.world.reassign(run, owner=told.world.users[1])
    return run


def re_enrol(told: Told) -> str:
    run = told.world.enrol("Event Follow-up")
    target = str(told.sandbox.org.get("ActionCadenceTracker", run)["TargetId"])
    told.later(HOUR)
    told.world.remove(run, "Contact Later")
    told.later(7 * DAY)
    told.world.enrol("Event Follow-up", target)
    return target


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        enrol_to_finish,
        skip,
        manual_complete,
        pause_and_resume,
        scheduled_resume,
        removal_with_disposition,
        exit_rule,
        lead_conversion,
        daisy_chain,
        error_and_retry,
        reassign,
        re_enrol,
    )
}


async def _consume(told: Told, path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    try:
        org = Where(told.sandbox.org.organization_id, "https://acme.my.salesforce.com")
        async with tenure(store, (RUN_CHANNEL, STEP_CHANNEL), told, org, start="earliest") as ingest:
            await ingest.open()

            def commit_ms(message: Any) -> int:
                return int(message["data"]["payload"]["ChangeEventHeader"]["commitTimestamp"])

            for at_ms, messages in groupby(told.sandbox.ledger.messages(), key=commit_ms):
                # Nothing happened until now, and Salesforce says so: what was due before is told.
                await ingest.answer([], server_ms=at_ms - 1, after_ms=5_000)
                await ingest.answer([], server_ms=at_ms - 1, after_ms=5_000)
                await ingest.answer(list(messages), server_ms=at_ms, after_ms=5_000)
                await ingest.answer([], server_ms=at_ms + 2_000, after_ms=5_000)
    finally:
        await store.aclose()


def printed(story: Story) -> str:
    """What ``timeline`` prints of a story: words first, then data."""
    from consumer.cli import app

    told = Told()
    record_id = story(told)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cadence.db"
        asyncio.run(_consume(told, path))
        out = io.StringIO()
        environ = {"CADENCE_STORE__URL": f"sqlite:///{path}", "NO_COLOR": "1"}
        with patch.dict(os.environ, environ), redirect_stdout(out), redirect_stderr(out):
            app(["timeline", record_id], standalone_mode=False)
    return out.getvalue()


def kept(name: str) -> Path:
    """Where a story's text is kept."""
    return KEPT / f"{name}.txt"


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for name, story in STORIES.items():
        kept(name).write_text(printed(story))
