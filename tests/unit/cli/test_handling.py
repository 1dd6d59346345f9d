"""Commands that ask something of handlers: what they write into the store, and that a running service carries it out."""

import asyncio
import json

import pytest

from consumer.delivery.cursor import Cursor
from consumer.ports.commit import Commit, JournalRecord
from consumer.ports.delivery import HandlerDeadLetter, SavedCursor
from consumer.settings import load_settings
from consumer.stores.sqlite.sqlite_store import SqliteStore
from consumer.wiring import open_store
from tests.support.rigs.delivery import (
    Log,
    World,
    loaded,
    until,
)
from tests.unit.cli.conftest import ORG, OTHER_RUN, RUN_ID, STORY


def dead_letter(number, handler="notify", at_ms=1_700_000_000_000):
    each = STORY[number - 1]
    return HandlerDeadLetter(
        handler,
        each.id,
        number,
        each.tracker_id,
        each.type,
        10,
        "ValueError: no",
        at_ms + number,
        each.to_json(),
    )


@pytest.fixture
def environ(tmp_path, environ):
    """A store of one's own, with five events, the handler past them all, and dead letters for four."""

    async def fill():
        store = SqliteStore(tmp_path / "own.db")
        await store.open()
        tenure = await store.acquire("pod-1/17", 1)
        journal = [JournalRecord(each.id, each.type, each.tracker_id, each.to_json()) for each in STORY]
        await store.commit(Commit(tenure.token, 1, ORG, journal=journal))
        dead_letters = [dead_letter(1), dead_letter(2), dead_letter(3)]
        await store.save_cursor(tenure, "notify", SavedCursor(1, Cursor(5).snapshot()), dead_letters)
        await store.save_cursor(
            tenure, "other", SavedCursor(1, Cursor(5).snapshot()), [dead_letter(5, "other")]
        )
        await store.release(tenure)
        await store.aclose()

    asyncio.run(fill())
    return {**environ, "CADENCE_STORE__URL": f"sqlite:///{tmp_path / 'own.db'}"}


@pytest.fixture
def look(environ):
    """Ask the store: ``look(lambda store: store.…)``."""

    def ask(question):
        async def do():
            async with open_store(load_settings(None, environ, connects=False)) as store:
                return await question(store)

        return asyncio.run(do())

    return ask


def dead_letter_ids(look, handler=None):
    return [each.event_id for each in look(lambda store: store.handler_dead_letters(handler, 100))]


def test_dead_letters_are_listed_by_handler_type_run_and_time(lines):
    def ids(*arguments):
        return [line["id"] for line in lines("dead-letters", "list", *arguments)]

    assert ids("--handler", "other") == ["event-5"]
    assert ids("--type", "run.*") == ["event-1", "event-3", "event-5"]
    assert ids("--type", "step.*") == ["event-2"]
    assert ids("--run", OTHER_RUN[:15]) == ["event-3"]
    assert ids("--since", "2023-11-14T22:13:20.003Z") == ["event-3", "event-5"]
    assert ids("--since", "1h") == []


def test_a_dead_letter_is_shown_with_its_event(call):
    result = call("dead-letters", "show", "event-2")
    assert result.exit_code == 0
    assert "handler: notify" in result.stdout
    assert '"step_title": "First Touch"' in result.stdout
    assert call("dead-letters", "show", "event-4").exit_code == 1


def test_dead_letters_are_asked_for_again_by_id_or_filter(call, look):
    assert call("dead-letters", "redrive").exit_code == 2
    assert call("dead-letters", "redrive", "nobody").stderr.startswith("no handler has a dead letter nobody")
    result = call("dead-letters", "redrive", "event-2", "event-5")
    assert result.stderr.splitlines() == [
        "notify: 1 dead letter queued for redelivery",
        "other: 1 dead letter queued for redelivery",
    ]
    call("dead-letters", "redrive", "--handler", "notify", "--type", "run.*")
    assert [each.event_id for each in look(lambda store: store.redrives("notify", 9))] == [
        "event-1",
        "event-2",
        "event-3",
    ]


def test_the_former_name_of_the_redrive_still_works_and_is_not_shown(call, look):
    former = "retry"
    assert call("dead-letters", former, "event-2").stderr == "notify: 1 dead letter queued for redelivery\n"
    assert [each.event_id for each in look(lambda store: store.redrives("notify", 9))] == ["event-2"]
    usage = call("dead-letters", "--help").stdout
    assert "redrive" in usage
    assert former not in usage


def test_dead_letters_are_thrown_away_only_with_yes(call, look):
    result = call("dead-letters", "discard", "--handler", "notify", "--run", RUN_ID)
    assert result.stderr.splitlines() == [
        "notify: 2 dead letters would be discarded",
        "nothing was changed; pass --yes to apply it",
    ]
    assert len(dead_letter_ids(look)) == 4
    call("dead-letters", "discard", "--handler", "notify", "--run", RUN_ID, "--yes")
    assert dead_letter_ids(look) == ["event-3", "event-5"]


def test_a_handler_is_paused_listed_so_and_resumed(call, lines, look):
    assert call("handlers", "pause", "nobody").exit_code == 1
    assert call("handlers", "pause", "notify").exit_code == 0
    (shown,) = [line for line in lines("handlers", "list") if line["name"] == "notify" and "commands" in line]
    assert (shown["commands"], shown["dead_letters"], shown["blocked_runs"]) == (["paused"], 3, 0)
    assert "paused" in call("handlers", "list").stdout
    assert call("handlers", "resume", "notify").stderr == "notify is resumed\n"
    assert call("handlers", "resume", "notify").stderr == "notify was not paused\n"
    assert look(lambda store: store.pending_commands(["notify"]))["notify"].commands == ()


def test_a_handler_is_forgotten_only_with_yes(call, look):
    result = call("handlers", "forget", "notify")
    assert result.stderr.splitlines() == [
        "notify: cursor at offset 5, 0 blocked runs, 0 commands, 3 dead letters",
        "nothing was changed; pass --yes to apply it",
    ]
    assert call("handlers", "forget", "notify", "--yes").exit_code == 0
    assert look(lambda store: store.cursor("notify")) is None
    assert dead_letter_ids(look) == ["event-5"]


def test_a_replay_needs_a_handler_and_a_beginning(call):
    assert call("replay", "--from-offset", "1").exit_code == 2
    assert call("replay", "--handler", "notify").exit_code == 2
    assert call("replay", "--handler", "nobody", "--from-offset", "1").exit_code == 1
    assert call("replay", "--handler", "notify", "--checkpoint", "none").stderr.startswith(
        "there is no checkpoint none"
    )


def test_a_dry_run_counts_what_the_handler_would_get_and_shows_the_first(lines, look):
    *shown, count = lines("replay", "--handler", "notify", "--from", "2026-01-31T09:30:03Z", "--dry-run")
    assert [(line["offset"], line["type"]) for line in shown] == [
        (3, "run.enrolled"),
        (5, "run.ended.finished"),
    ]
    assert (count["after"], count["through"], count["events"]) == (2, 5, 2)
    assert look(lambda store: store.pending_commands(["notify"]))["notify"].commands == ()


def test_a_replay_is_written_into_the_store_and_can_be_taken_back(call, look):
    result = call(
        "replay", "--handler", "notify", "--from-offset", "2", "--to", "2026-01-31T09:30:04Z", "--no-wait"
    )
    assert result.exit_code == 0, result.stderr
    assert "offsets 2 to 3 will be delivered again" in result.stderr
    assert "no replica is running" in result.stderr
    (command,) = look(lambda store: store.pending_commands(["notify"]))["notify"].commands
    assert (command.kind, command.after, command.through) == ("replay", 1, 3)
    assert call("replay", "--handler", "notify", "--cancel").stderr == "notify: 1 replay cancelled\n"
    assert look(lambda store: store.pending_commands(["notify"]))["notify"].commands == ()


async def test_a_running_dispatcher_carries_out_what_the_command_asks_and_the_command_shows_its_end(environ):
    log = Log()
    async with open_store(load_settings(None, environ, connects=False), read_only=False) as store:
        world = World(store, await store.acquire("pod-2/1", 60_000))
        async with world.delivering(loaded(log, "notify")):
            process = await asyncio.create_subprocess_exec(
                *_python("replay", "--handler", "notify", "--from-offset", "2", "--json"),
                env=environ, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, _ = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0
            assert json.loads(out.splitlines()[-1])["done"] is True
            assert log.ids.count("event-1") == 0
            assert sorted(log.ids) == ["event-2", "event-3", "event-4", "event-5"]
            await store.redrive_dead_letters("notify", ["event-1"])
            await until(lambda: "event-1" in log.ids, 20)


def _python(*arguments):
    import sys

    return sys.executable, "-m", "consumer", *arguments


TRIED = """
from consumer import RemoveTarget, handler

@handler(on="run.*")
async def one(event, ctx):
    assert ctx.dry_run
    if event.type == "run.ended.finished":
        raise KeyError("finished")
    async with ctx.once(event.id), ctx.http.post("http://crm.test/hook", json={"run": event.tracker_id}) as answer:
        answer.raise_for_status()
    [result] = await ctx.actions.remove([RemoveTarget(tracker_id=event.tracker_id)])
    assert result.succeeded
"""


def test_a_handler_is_tried_with_events_of_the_journal_and_nothing_is_sent_or_moved(
    process, environ, look, tmp_path
):
    (tmp_path / "tried_handler.py").write_text(TRIED)
    more = {**environ, "CADENCE_HANDLERS__NOTIFY__USE": "tried_handler:one", "PYTHONPATH": str(tmp_path)}
    result = process("handlers", "test", "notify", **more)
    assert result.returncode == 1, "one call failed"
    shown = result.stdout.splitlines()
    assert shown[0] == f"1  run.enrolled  {RUN_ID}  done"
    assert shown[1] == f'    POST http://crm.test/hook {{"run": "{RUN_ID}"}}'
    assert RUN_ID in shown[2]
    assert shown[-1] == f"5  run.ended.finished  {RUN_ID}  failed: KeyError: 'finished'"
    result = process("handlers", "test", "notify", "-n", "1", "--from-offset", "2", "--json", **more)
    assert [json.loads(line)["offset"] for line in result.stdout.splitlines()] == [3]
    assert look(lambda store: store.cursor("notify")).revision == 1
    assert len(dead_letter_ids(look, "notify")) == 3


HANGS = """
import asyncio
from consumer import BatchHandler, Failed

class Sink(BatchHandler):
    async def handle_batch(self, events, ctx):
        if events[0].type == "run.ended.finished":
            raise Failed({events[0].id: "the row is locked"})
        await asyncio.Event().wait()
"""


def test_a_handler_is_tried_with_the_time_limit_and_the_outcomes_of_the_service(process, environ, tmp_path):
    (tmp_path / "tried_sink.py").write_text(HANGS)
    more = {
        **environ,
        "CADENCE_HANDLERS__NOTIFY__USE": "tried_sink:Sink",
        "CADENCE_HANDLERS__NOTIFY__TIMEOUT": "100ms",
        "PYTHONPATH": str(tmp_path),
    }
    result = process("handlers", "test", "notify", "-n", "2", **more)
    assert result.returncode == 1
    assert [line.split("  ")[-1] for line in result.stdout.splitlines()] == [
        "failed: TimedOut: not done after 0.1 s, and cancelled",
        "failed: the row is locked",
    ]


# ---------------------------------------------------------------- a newer release


@pytest.mark.parametrize(
    "command",
    [
        ("handlers", "list"),
        ("handlers", "forget", "notify"),
        ("replay", "--handler", "notify", "--from-offset", "1", "--dry-run"),
        ("status",),
    ],
)
def test_a_cursor_of_a_newer_release_is_reported_in_one_line(tmp_path, call, command):
    async def write():
        store = SqliteStore(tmp_path / "own.db")
        await store.open()
        tenure = await store.acquire("pod-1/17", 1)
        newer = SavedCursor(2, b'{"v":9,"offset":5,"settled":[]}')
        await store.save_cursor(tenure, "notify", newer, [])
        await store.release(tenure)
        await store.aclose()

    asyncio.run(write())
    result = call(*command)
    assert result.exit_code == 1
    assert "the cursor of handler 'notify' cannot be read (it has format 9" in result.stderr
    assert result.stderr.count("\n") == 1
