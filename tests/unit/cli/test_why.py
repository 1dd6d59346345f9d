"""``why``: events that the real ingest journaled, explained from the store."""

import json
from contextlib import asynccontextmanager

import pytest

from consumer import Context, LifecycleEvent, handler
from consumer.delivery.cursor import Cursor
from consumer.delivery.handler_settings import HandlerSpec
from consumer.delivery.loading import load_handler
from consumer.inspection.explain import HandlerVerdict, explain
from consumer.ports.delivery import (
    HandlerCommand,
    HandlerDeadLetter,
    SavedBlockedRun,
    SavedCursor,
)
from consumer.stores.sqlite.sqlite_store import SqliteStore
from tests.support.builders.changes import (
    COMMIT_MS,
    ORG,
    RUN,
    RUN_1,
    RUN_2,
    STEP,
    STEP_1,
    message,
)
from tests.support.rigs.ingest import tenure
from tests.unit.cli.conftest import STORY

HOUR = 3_600_000
NOW = COMMIT_MS + HOUR

enrol = message("CREATE", RUN, RUN_1, {"State": "Running", "TargetId": "00Q"}, commit=1)
step = message(
    "CREATE", STEP, STEP_1, {"State": "Active", "ActionCadenceTrackerId": RUN_1}, commit=1, sequence=2
)
pause = message("UPDATE", RUN, RUN_1, {"State": "Paused", "OwnerId": "005A"}, commit=2)
fail = message("UPDATE", RUN, RUN_1, {"State": "Error"}, commit=3)
other = message("CREATE", RUN, RUN_2, {"State": "Running"}, commit=4)
gap = message("GAP_UPDATE", RUN, RUN_2, commit=5)

# In the journal: 1 run.enrolled, 2 run.started, 3 step.created, 4 step.activated, 5 run.failed, 6 run.paused (late),
# 7 run.reassigned (late), 8 and 9 of the other run, 10 system.gap.


@asynccontextmanager
async def journaled(tmp_path):
    path = tmp_path / "cadence.db"
    async with tenure(path) as rig:
        await rig.open()
        for answer in ((enrol, step), (fail,), (pause,), (other,), (gap,)):
            await rig.answer(*answer)
            await rig.pass_time(2_000)
        types = await rig.types()
    assert types == [
        "run.enrolled", "run.started", "step.created", "step.activated", "run.failed", "run.paused", "run.reassigned",
        "run.enrolled", "run.started", "system.gap",
    ]  # fmt: skip
    store = SqliteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


pytestmark = pytest.mark.looptime


def load(name, **spec):
    loaded, problems = load_handler(name, HandlerSpec(**{"use": "log", **spec}))
    assert problems == []
    return loaded


async def id_at(store, offset):
    return (await store.read(offset - 1, 1))[0].id


async def test_an_event_is_found_by_its_id_and_by_its_offset(tmp_path):
    async with journaled(tmp_path) as store:
        for offset in range(1, 11):
            event_id = await id_at(store, offset)
            for wanted in (event_id, str(offset)):
                known = await explain(store, wanted, [], NOW)
                assert (known.offset, known.event.id) == (offset, event_id)
        for wanted in ("11", "0", "nothing", f"{ORG}/{RUN}/{RUN_1}/x/1/1/run.enrolled"):
            assert await explain(store, wanted, [], NOW) is None


async def test_the_change_is_told_with_its_position_its_transaction_and_its_place_in_the_order(tmp_path):
    async with journaled(tmp_path) as store:
        known = await explain(store, "3", [], NOW)
        assert known.event.position.replay_id == "12"
        assert known.event.transaction.key == step["data"]["payload"]["ChangeEventHeader"]["transactionKey"]
        assert known.key == (0, 1, 2)
        assert known.event.late is False
        assert (known.overtaken_by, known.after.type) == (None, "run.started")
        assert known.same_change == (await id_at(store, 4),)
        assert (await explain(store, "1", [], NOW)).after is None


async def test_a_late_event_names_the_newer_one_that_had_been_committed_before(tmp_path):
    async with journaled(tmp_path) as store:
        known = await explain(store, "6", [], NOW)
        assert known.event.late is True
        assert known.key == (0, 2, 1)
        assert known.overtaken_by.type == "run.failed"
        assert known.same_change == (await id_at(store, 7),)
        assert known.still_current == ("OwnerId",), "the newer State stands"


async def test_a_system_event_belongs_to_no_run_and_is_explained_all_the_same(tmp_path):
    async with journaled(tmp_path) as store:
        known = await explain(store, await id_at(store, 10), [load("out")], NOW)
        assert known.event.type == "system.gap"
        assert (known.after, known.same_change) == (None, ())
        assert [view.verdict for view in known.handlers] == [HandlerVerdict.NEW]


@handler(on="run.*", when=lambda event: event.tracker_id == RUN_2)
async def choosy(event: LifecycleEvent, ctx: Context) -> None: ...


@handler(on="run.*", when=lambda event: event.nothing)
async def broken(event: LifecycleEvent, ctx: Context) -> None: ...


async def views(store, wanted, *loaded, now_ms=NOW):
    known = await explain(store, wanted, loaded, now_ms)
    return {view.handler: view for view in known.handlers}


async def test_each_handler_says_what_it_made_of_the_event(tmp_path):
    async with journaled(tmp_path) as store:
        won = await store.acquire("pod-1", HOUR)
        all_of = {
            name: load(name, on="run.*") for name in ("past", "range", "ahead", "parked", "dead", "again")
        }

        async def cursor(name, data, dead_letters=(), blocked_runs=()):
            await store.save_cursor(
                won,
                name,
                SavedCursor(1, data.snapshot()),
                dead_letters,
                {row.tracker_id: row for row in blocked_runs},
            )

        def dead_letter(name):
            return HandlerDeadLetter(
                name, event_id, 5, RUN_1, "run.failed", 10, "ValueError: no", 77, entry.data
            )

        entry = (await store.read(4, 1))[0]
        event_id = entry.id
        await cursor("past", Cursor(10))
        await cursor("range", Cursor(1, [(4, 7)]))
        await cursor("ahead", Cursor(2))
        await cursor(
            "parked",
            Cursor(10),
            blocked_runs=[SavedBlockedRun(RUN_1, 5, 3, 123, "TimeoutError: slow", done=(7,))],
        )
        await cursor("dead", Cursor(10), [dead_letter("dead")])
        await cursor("again", Cursor(10), [dead_letter("again")])
        await store.redrive_dead_letters("again", [event_id])
        await cursor("former", Cursor(10))
        told = await views(store, "5", *all_of.values())
        assert {name: view.verdict for name, view in told.items()} == {
            "past": HandlerVerdict.ACKNOWLEDGED, "range": HandlerVerdict.ACKNOWLEDGED, "ahead": HandlerVerdict.WAITING, "parked": HandlerVerdict.WAITING_FOR_RETRY,
            "dead": HandlerVerdict.DEAD_LETTER, "again": HandlerVerdict.DEAD_LETTER, "former": HandlerVerdict.ACKNOWLEDGED,
        }  # fmt: skip
        assert (told["parked"].attempts, told["parked"].error, told["parked"].at_ms) == (
            3,
            "TimeoutError: slow",
            123,
        )
        assert (told["dead"].attempts, told["dead"].error, told["dead"].at_ms) == (10, "ValueError: no", 77)
        assert "`dead-letters redrive`" in told["dead"].detail
        assert told["again"].detail == "it will be delivered again"
        assert told["former"].detail.endswith("the handler is not configured, or off")
        behind = (await views(store, "6", all_of["parked"]))["parked"]
        assert behind.verdict is HandlerVerdict.BEHIND_BLOCKED
        assert behind.detail == "behind offset 5 of the same run, which failed: TimeoutError: slow"
        assert (await views(store, "7", all_of["parked"]))["parked"].verdict is HandlerVerdict.ACKNOWLEDGED, (
            "settled out of turn"
        )
        assert (await views(store, "8", all_of["parked"]))["parked"].verdict is HandlerVerdict.ACKNOWLEDGED, (
            "another run"
        )


async def test_a_paused_handler_is_said_to_be(tmp_path):
    async with journaled(tmp_path) as store:
        won = await store.acquire("pod-1", HOUR)
        await store.save_cursor(won, "out", SavedCursor(1, Cursor(2).snapshot()))
        await store.put_command(HandlerCommand("pause-out", "out", "pause", 1))
        assert (await views(store, "5", load("out")))[
            "out"
        ].detail == "its cursor is at offset 2; it is paused"


async def test_what_a_handler_does_not_want_is_told_with_the_filter(tmp_path):
    async with journaled(tmp_path) as store:
        won = await store.acquire("pod-1", HOUR)
        by_predicate, _ = load_handler("choosy", HandlerSpec(use="x:y"), choosy)
        raising, _ = load_handler("broken", HandlerSpec(use="x:y"), broken)
        loaded = [
            load("types", on="step.*"), load("origins", on="run.*", origins=["repair"]), load("old", on="run.*", max_age="5s"), by_predicate, raising,
        ]  # fmt: skip
        for one in loaded:
            await store.save_cursor(won, one.name, SavedCursor(1, Cursor(10).snapshot()))
        told = await views(store, "5", *loaded)
        assert {view.verdict for view in told.values()} == {HandlerVerdict.FILTERED_OUT}
        assert told["types"].detail == "`on` does not select this type"
        assert told["origins"].detail.startswith("`origins` does not include")
        assert told["old"].detail.startswith("it is older than `max_age` by now; ")
        assert told["choosy"].detail == "the handler's own predicate rejects it"
        assert told["broken"].detail.startswith("the handler's own predicate raises AttributeError")
        assert (await views(store, "8", by_predicate))["choosy"].verdict is HandlerVerdict.ACKNOWLEDGED


async def test_an_event_that_retention_removed_is_explained_from_its_dead_letter(tmp_path):
    async with journaled(tmp_path) as store:
        won = await store.acquire("pod-1", HOUR)
        entry = (await store.read(0, 1))[0]
        dead_letter = HandlerDeadLetter(
            "out", entry.id, 1, RUN_1, entry.type, 10, "ValueError: no", 77, entry.data
        )
        await store.save_cursor(won, "out", SavedCursor(1, Cursor(10).snapshot()), [dead_letter])
        await store.trim(won, 2)
        for wanted in (entry.id, "1"):
            known = await explain(store, wanted, [load("out")], NOW)
            assert (known.offset, known.event.type, known.handlers[0].verdict) == (
                None,
                "run.enrolled",
                HandlerVerdict.DEAD_LETTER,
            )
        assert await explain(store, "2", [], NOW) is None


async def test_a_commit_number_after_a_migration_is_told_with_its_epoch(tmp_path):
    far = 20_000_000_000
    before = message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=far, commit_ms=COMMIT_MS)
    after = message("UPDATE", RUN, RUN_1, {"State": "Paused"}, commit=7, commit_ms=COMMIT_MS + 60_000)
    async with tenure(tmp_path / "cadence.db") as rig:
        await rig.open()
        await rig.answer(before)
        await rig.pass_time(2_000)
        await rig.lose()
        rig.instance.name = "NA2"
        await rig.open()
        await rig.answer(after)
        await rig.pass_time(2_000)
        known = await explain(rig.store, "3", [], NOW)
        assert (known.event.type, known.key, known.event.late) == ("run.paused", (1, 7, 1), False)


# ---------------------------------------------------------------- the command


def test_for_programs_it_is_one_document_with_the_event_as_it_was_journaled(lines):
    (told,) = lines("why", "event-3")
    assert told["event"] == json.loads(STORY[2].to_json())
    assert told["offset"] == 3
    assert [(view["handler"], view["verdict"], view["attempts"]) for view in told["handlers"]] == [
        ("notify", "dead_letter", 10)
    ]


def test_for_people_it_is_what_happened_what_changed_and_what_became_of_it(call):
    result = call("why", "event-4")
    assert result.exit_code == 0, result.output
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "event step.ended.completed event-4" in rows
    assert "journal offset 4" in rows
    assert "origin stream: the stream carried it" in rows
    assert "State Active Completed" in rows
    assert "notify filtered out `on` does not select this type" in rows


def test_an_event_that_nobody_knows_is_a_failure_with_a_sentence(call):
    result = call("why", "event-99")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("there is no event event-99: it is not (or no longer) in the journal")


def test_a_handler_that_cannot_be_loaded_is_judged_by_its_place(call):
    result = call("why", "event-5", CADENCE_HANDLERS__NOTIFY__USE="lgo")
    assert "its filters are unknown: handlers.notify.use: no handler is called 'lgo'" in result.stderr
    assert "notify    waiting" in result.stdout or "notify   waiting" in result.stdout
