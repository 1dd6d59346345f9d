"""The contract of ``consumer.ports.store.Store``: one suite, run against each implementation."""

import asyncio
from dataclasses import replace

import pytest

from consumer.errors import CommitRefused, StoreEmpty, StoreForeign
from consumer.ports.commit import (
    ChannelState,
    Epoch,
    IngestDeadLetter,
    PastPosition,
)
from consumer.ports.delivery import (
    HandlerCommand,
    HandlerDeadLetter,
    PendingCommands,
    SavedBlockedRun,
    SavedCursor,
)
from tests.support.builders.commits import LEASE_MS, ORG, commit_of


async def test_a_commit_writes_everything_it_holds(store, tenure):
    dead_letter = IngestDeadLetter("/data/x/7/ab", "/data/x", "7", "no_header", "why", b"\x00{raw", 5)
    channels = {"/data/x": ChannelState(1, "7", 2, 3)}
    assert await store.commit(
        commit_of(tenure, 1, events=3, states={"r": b"state"}, channels=channels, dead_letters=[dead_letter])
    )
    assert await store.states(["r", "other"]) == {"r": b"state"}
    assert await store.channels() == channels
    assert await store.ingest_dead_letters(10) == [dead_letter]
    assert await store.org_id() == ORG
    entries = await store.read(0, 10)
    assert [(entry.offset, entry.id, entry.tracker_id) for entry in entries] == [
        (1, "1.0", "run0"), (2, "1.1", "run1"), (3, "1.2", "run0"),
    ]  # fmt: skip
    assert await store.bounds() == (1, 3)


@pytest.mark.parametrize("count", [7, 8, 9, 63, 64, 65, 137, 1_000])
async def test_a_commit_of_any_size_is_written_whole_and_in_its_order(store, tenure, count):
    states = {f"r{number}": b"%d" % number for number in range(count)}
    await store.commit(commit_of(tenure, 1, events=count, states=dict.fromkeys(states, b"old")))
    await store.commit(commit_of(tenure, 2, events=1, states=states))
    assert await store.states([*states]) == states
    entries = await store.read(0, 2_000)
    assert [(one.offset, one.id) for one in entries] == [
        *((number + 1, f"1.{number}") for number in range(count)),
        (count + 1, "2.0"),
    ]


async def test_a_commit_removes_the_states_it_says_and_an_old_token_removes_none(store, tenure):
    await store.commit(commit_of(tenure, 1, states={"a": b"1", "b": b"2", "c": b"3"}))
    await store.commit(commit_of(tenure, 2, states={"a": None, "b": b"4", "unknown": None}))
    assert await store.states(["a", "b", "c", "unknown"]) == {"b": b"4", "c": b"3"}
    await store.release(tenure)
    newer = await store.acquire("one", LEASE_MS)
    with pytest.raises(CommitRefused):
        await store.commit(commit_of(tenure, 3, states={"b": None}))
    assert await store.states(["b"]) == {"b": b"4"}
    await store.commit(commit_of(newer, 1, states={"b": None}))
    assert await store.states(["b"]) == {}


async def test_a_walk_through_the_states_meets_everything_that_is_there_all_the_time(store, tenure):
    assert await store.walk(None, 10) == ([], None)
    lasting = {f"r{number:04d}": b"%d" % number for number in range(1_500)}
    going = {f"g{number:04d}": b"x" for number in range(1_500)}
    await store.commit(commit_of(tenure, 1, states=lasting | going))
    met, cursor, pages = {}, None, 0
    while True:
        found, cursor = await store.walk(cursor, 200)
        met |= found
        pages += 1
        if cursor is None:
            break
        # What goes and comes while somebody walks neither stops nor misleads the walk.
        gone = dict.fromkeys(list(going)[pages * 50 : pages * 50 + 50])
        await store.commit(commit_of(tenure, pages + 1, states=gone | {f"new{pages}": b"n"}))
    assert {key: met[key] for key in lasting} == lasting
    assert pages > 5, "a piece at a time"


async def test_an_empty_store_says_so(store):
    assert await store.bounds() == (1, 0)
    assert await store.read(0, 10) == []
    assert await store.channels() == {}
    assert await store.org_id() is None
    assert (await store.lease()).holder is None
    assert await store.cursor("h") is None


async def test_the_same_commit_sent_again_is_applied_once(store, tenure):
    commit = commit_of(tenure, 1, events=2)
    assert await store.commit(commit) is True
    assert await store.commit(commit) is False
    assert await store.bounds() == (1, 2)


@pytest.mark.parametrize("number", [0, 2, 3])
async def test_a_commit_out_of_turn_is_refused_whole(store, tenure, number):
    with pytest.raises(CommitRefused):
        await store.commit(
            commit_of(tenure, number, events=1, states={"r": b"x"})
            if number
            else commit_of(tenure, -1, events=1)
        )
    assert await store.bounds() == (1, 0)
    assert await store.states(["r"]) == {}


async def test_a_commit_under_an_old_token_is_refused_whole(store, tenure):
    await store.commit(commit_of(tenure, 1, events=1))
    await store.release(tenure)
    newer = await store.acquire("one", LEASE_MS)
    assert newer.token != tenure.token, "a process that wins its own lease again starts a new tenure"
    with pytest.raises(CommitRefused):
        await store.commit(commit_of(tenure, 2, events=1, states={"r": b"x"}))
    assert await store.bounds() == (1, 1)
    assert await store.states(["r"]) == {}
    assert await store.commit(commit_of(newer, 1, events=1))


async def test_another_org_is_refused_whole(store, tenure):
    await store.commit(commit_of(tenure, 1))
    with pytest.raises(StoreForeign, match=ORG):
        await store.commit(commit_of(tenure, 2, events=1, org="00DWP0000009999MAA"))
    assert await store.bounds() == (1, 0)
    assert await store.commit(commit_of(tenure, 2, events=1)), "the refusal cost no number"


async def test_one_replica_holds_the_lease_and_the_other_is_told_who(new_store, store, tenure):
    other = new_store()
    await other.open()
    try:
        assert await other.acquire("two", LEASE_MS) is None
        assert (await other.lease()).holder == "one"
        await store.release(tenure)
        assert (await other.lease()).holder is None
        assert await other.acquire("two", LEASE_MS) is not None
        assert await store.acquire("one", LEASE_MS) is None
    finally:
        await other.aclose()


async def test_a_lease_that_ran_out_goes_to_the_next_and_the_old_holder_is_refused(new_store, store):
    old = await store.acquire("one", 1)
    other = new_store()
    await other.open()
    try:
        async with asyncio.timeout(5):
            while (new := await other.acquire("two", LEASE_MS)) is None:
                await asyncio.sleep(0.01)
        with pytest.raises(CommitRefused, match="two"):
            await store.commit(commit_of(old, 1, events=1))
        with pytest.raises(CommitRefused):
            await store.renew(old, 0, LEASE_MS)
        await store.release(old)
        assert (await other.lease()).holder == "two", "releasing what is not ours any more does nothing"
        assert await other.commit(commit_of(new, 1, events=1))
    finally:
        await other.aclose()


async def test_renewal_checks_token_and_number(store, tenure):
    await store.renew(tenure, 0, LEASE_MS)
    await store.commit(commit_of(tenure, 1))
    await store.renew(tenure, 1, LEASE_MS)
    with pytest.raises(CommitRefused):
        await store.renew(tenure, 0, LEASE_MS)


async def test_the_journal_is_read_in_order_and_in_pieces(store, tenure):
    for number in range(1, 4):
        await store.commit(commit_of(tenure, number, events=4))
    seen, after = [], 0
    while entries := await store.read(after, 5):
        seen += [entry.id for entry in entries]
        after = entries[-1].offset
    assert seen == [f"{number}.{index}" for number in range(1, 4) for index in range(4)]
    assert [entry.id for entry in await store.read_run("run1")] == ["1.1", "1.3", "2.1", "2.3", "3.1", "3.3"]


async def test_a_waiting_reader_wakes_for_a_commit_of_this_and_of_another_process(new_store, store, tenure):
    other = new_store()
    await other.open()
    try:
        assert await store.wait(0, 1) is False
        waiting = asyncio.gather(store.wait(0, 10_000), other.wait(0, 10_000))
        await store.commit(commit_of(tenure, 1, events=1))
        assert await asyncio.wait_for(waiting, 5) == [True, True]
        assert await store.wait(0, 0) is True
        assert await store.wait(1, 1) is False
    finally:
        await other.aclose()


async def test_a_cursor_moves_by_compare_and_set_with_its_dead_letters(store, tenure):
    dead_letter = HandlerDeadLetter("h", "id1", 4, "run1", "run.updated", 10, "boom", 77, b"{}")
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a"))
    await store.save_cursor(tenure, "h", SavedCursor(2, b"b"), [dead_letter])
    await store.save_cursor(tenure, "h", SavedCursor(2, b"b"), [dead_letter])
    assert await store.cursor("h") == SavedCursor(2, b"b")
    assert await store.cursors() == {"h": SavedCursor(2, b"b")}
    assert await store.handler_dead_letters("h", 10) == [dead_letter]
    assert await store.handler_dead_letters(None, 10) == [dead_letter]
    assert await store.handler_dead_letters("other", 10) == []


async def test_blocked_runs_change_with_the_cursor_that_passes_them(store, tenure):
    late, early = SavedBlockedRun("run1", 9, 3, 77, "boom", (11, 12)), SavedBlockedRun(None, 4)
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a"), (), {"run1": late, None: early})
    await store.save_cursor(tenure, "other", SavedCursor(1, b"a"), (), {"run1": SavedBlockedRun("run1", 2)})
    assert await store.blocked_runs("h") == [early, late]
    moved = replace(late, first=12, attempts=0, done=())
    with pytest.raises(CommitRefused):
        await store.save_cursor(tenure, "h", SavedCursor(3, b"c"), (), {"run1": moved, None: None})
    assert await store.blocked_runs("h") == [early, late]
    for _ in range(2):
        await store.save_cursor(tenure, "h", SavedCursor(2, b"b"), (), {"run1": moved, None: None})
    assert await store.blocked_runs("h") == [moved]
    assert await store.blocked_runs("other") == [SavedBlockedRun("run1", 2)]


async def test_the_entries_of_a_run_are_found_from_an_offset_on(store, tenure):
    await store.commit(commit_of(tenure, 1, events=1_200))
    assert [entry.offset for entry in await store.read_run("run1", 1_195)] == [1_196, 1_198, 1_200]
    assert len(await store.read_run("run0")) == 600


@pytest.mark.parametrize("cursor", [SavedCursor(1, b"x"), SavedCursor(4, b"x"), SavedCursor(2, b"different")])
async def test_a_cursor_is_not_overwritten_out_of_turn(store, tenure, cursor):
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a"))
    await store.save_cursor(tenure, "h", SavedCursor(2, b"b"))
    dead_letter = HandlerDeadLetter("h", "id1", 4, None, "run.updated", 1, "boom", 77, b"{}")
    with pytest.raises(CommitRefused):
        await store.save_cursor(tenure, "h", cursor, [dead_letter])
    assert await store.cursor("h") == SavedCursor(2, b"b")
    assert await store.handler_dead_letters(None, 10) == []


async def test_a_cursor_is_not_moved_under_an_old_token(store, tenure):
    await store.release(tenure)
    await store.acquire("two", LEASE_MS)
    with pytest.raises(CommitRefused):
        await store.save_cursor(tenure, "h", SavedCursor(1, b"a"))
    assert await store.cursor("h") is None


async def test_a_cursor_beyond_a_journal_that_was_always_empty_is_refused(store, tenure):
    with pytest.raises(CommitRefused):
        await store.save_cursor(tenure, "h", SavedCursor(1, b"a", through=1))
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a", through=0))


async def test_a_cursor_says_how_often_it_was_saved_and_others_have_their_own(store, tenure):
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a"))
    await store.save_cursor(tenure, "other", SavedCursor(1, b"b"))
    await store.save_cursor(tenure, "h", SavedCursor(2, b"c"))
    assert await store.cursor("h") == SavedCursor(2, b"c")
    assert await store.cursor("other") == SavedCursor(1, b"b")
    assert await store.cursor("none") is None


async def test_an_ingest_dead_letter_that_comes_again_is_one(store, tenure):
    dead_letter = IngestDeadLetter("/data/x/7/ab", "/data/x", "7", "no_header", "why", b"raw", 5)
    await store.commit(commit_of(tenure, 1, dead_letters=[dead_letter]))
    await store.commit(commit_of(tenure, 2, dead_letters=[replace(dead_letter, at_ms=9)]))
    assert await store.ingest_dead_letters(10) == [dead_letter]


async def test_everything_is_there_after_closing_and_opening_again(new_store, store, tenure):
    await store.commit(
        commit_of(tenure, 1, events=3, states={"r": b"s"}, channels={"/data/x": ChannelState(1, "7")})
    )
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a"))
    await store.aclose()
    again = new_store()
    await again.open()
    try:
        assert await again.bounds() == (1, 3)
        assert await again.states(["r"]) == {"r": b"s"}
        assert (await again.channels())["/data/x"].position == "7"
        assert await again.cursor("h") == SavedCursor(1, b"a")
    finally:
        await again.aclose()


async def test_many_states_are_found_at_once(store, tenure):
    await store.commit(commit_of(tenure, 1, states={f"r{number}": b"%d" % number for number in range(2_500)}))
    found = await store.states([f"r{number}" for number in range(0, 5_000, 2)])
    assert found == {f"r{number}": b"%d" % number for number in range(0, 2_500, 2)}


async def test_past_positions_are_kept_with_the_journals_end(store, tenure):
    first = {"/data/x": ChannelState(1, "7"), "/data/y": ChannelState(1)}
    one, two = (
        commit_of(tenure, 1, events=2, channels=first),
        commit_of(tenure, 2, events=1, channels={"/data/x": ChannelState(1, "9")}),
    )
    one.history_at_ms, two.history_at_ms = 1_767_261_600_123, 1_767_261_660_123
    await store.commit(one)
    await store.commit(two)
    await store.commit(commit_of(tenure, 3, channels={"/data/x": ChannelState(1, "10")}))
    both = [
        PastPosition("/data/x", "7", 1_767_261_600_123, 2),
        PastPosition("/data/x", "9", 1_767_261_660_123, 3),
    ]
    assert await store.history(None, 10) == both
    assert await store.history("/data/x", 1) == both[1:]
    assert await store.history("/data/y", 10) == []


async def test_positions_can_be_kept_under_a_name(store):
    channels = {"/data/x": ChannelState(1, "7", 2, 3)}
    await store.save_checkpoint("before", {})
    await store.save_checkpoint("before", channels)
    assert await store.saved_checkpoints() == {"before": channels}


async def test_moving_a_channel_ends_the_tenure_under_way(store, tenure):
    await store.commit(
        commit_of(tenure, 1, channels={"/data/x": ChannelState(1, "7"), "/data/y": ChannelState(2, "8")})
    )
    await store.move({"/data/x": ChannelState(1, "3")})
    with pytest.raises(CommitRefused):
        await store.commit(commit_of(tenure, 2, events=1, channels={"/data/x": ChannelState(1, "9")}))
    with pytest.raises(CommitRefused):
        await store.renew(tenure, 1, LEASE_MS)
    assert await store.channels() == {"/data/x": ChannelState(1, "3"), "/data/y": ChannelState(2, "8")}
    again = await store.acquire("one", LEASE_MS)
    assert await store.commit(commit_of(again, 1, events=1))


async def test_epochs_are_committed_with_what_belongs_to_them(store, tenure):
    assert await store.epochs() == []
    commit = commit_of(tenure, 1)
    commit.epochs = [Epoch(0, 0, "NA1"), Epoch(1, 1_767_261_600_000, None)]
    await store.commit(commit)
    await store.commit(commit_of(tenure, 2))
    assert await store.epochs() == commit.epochs


async def test_timers_are_set_moved_and_removed_with_a_commit_and_read_by_due_time(store, tenure):
    first = commit_of(tenure, 1)
    first.timers = {
        "a/step.overdue": 1_767_261_600_300,
        "b/step.overdue": 1_767_261_600_100,
        "c/run.resume_due": 1_767_261_600_200,
    }
    await store.commit(first)
    assert await store.timers(1_767_261_600_200, 10) == [
        ("b/step.overdue", 1_767_261_600_100),
        ("c/run.resume_due", 1_767_261_600_200),
    ]
    second = commit_of(tenure, 2)
    second.timers = {
        "b/step.overdue": 1_767_261_600_900,
        "c/run.resume_due": None,
        "never/step.overdue": None,
    }
    await store.commit(second)
    assert await store.timers(2**53, 1) == [("a/step.overdue", 1_767_261_600_300)]
    assert [key for key, _ in await store.timers(2**53, 10)] == ["a/step.overdue", "b/step.overdue"]


async def test_a_cursor_past_the_journals_end_is_refused(store, tenure):
    await store.commit(commit_of(tenure, 1, events=2))
    with pytest.raises(CommitRefused):
        await store.save_cursor(tenure, "h", SavedCursor(1, b"a", through=3))
    assert await store.cursor("h") is None
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a", through=2))


async def test_a_secret_is_kept_until_it_is_replaced_and_needs_no_tenure(store, new_store):
    assert await store.secret("refresh_token/a") is None
    await store.save_secret("refresh_token/a", "one")
    await store.save_secret("refresh_token/b", "other")
    await store.save_secret("refresh_token/a", "two")
    again = new_store()
    await again.open()
    try:
        assert await again.secret("refresh_token/a") == "two"
        assert await again.secret("refresh_token/b") == "other"
        assert await again.org_id() is None
    finally:
        await again.aclose()


async def test_a_secret_can_be_kept_after_the_lease_is_lost(store, tenure):
    await store.move({})
    with pytest.raises(CommitRefused):
        await store.commit(commit_of(tenure, 1, events=1))
    await store.save_secret("refresh_token/a", "one")
    assert await store.secret("refresh_token/a") == "one"


@pytest.mark.parametrize("count", [0, 1, 50, 3_000])
async def test_a_walk_meets_every_state_and_can_go_on_elsewhere(store, new_store, tenure, count):
    states = {f"{number:018d}": b"%d" % number for number in range(count)}
    await store.commit(commit_of(tenure, 1, states=states))
    other = new_store()
    await other.open()
    met, cursor, pages = {}, None, 0
    while True:
        found, cursor = await (store, other)[pages % 2].walk(cursor, 500)
        met.update(found)
        pages += 1
        if cursor is None:
            break
    assert met == states
    assert pages >= count / 1_000
    await other.aclose()


async def test_tasks_are_kept_replaced_and_removed_with_a_commit(store, tenure):
    first, second = commit_of(tenure, 1), commit_of(tenure, 2)
    first.reconcile_tasks = {"gap/x/7": b"page 1", "sweep/y": b"due"}
    await store.commit(first)
    assert await store.reconcile_tasks() == {"gap/x/7": b"page 1", "sweep/y": b"due"}
    second.reconcile_tasks = {"gap/x/7": b"page 2", "sweep/y": None, "never/there": None}
    await store.commit(second)
    assert await store.reconcile_tasks() == {"gap/x/7": b"page 2"}


async def test_a_refused_commit_changes_no_task(store, tenure):
    refused = commit_of(tenure, 7)
    refused.reconcile_tasks = {"gap/x/7": b"page 1"}
    with pytest.raises(CommitRefused):
        await store.commit(refused)
    assert await store.reconcile_tasks() == {}


async def test_a_task_that_somebody_adds_replaces_none(store, tenure):
    await store.add_reconcile_task("repair/1", b"wanted")
    await store.add_reconcile_task("repair/1", b"wanted again")
    assert await store.reconcile_tasks() == {"repair/1": b"wanted"}
    done = commit_of(tenure, 1)
    done.reconcile_tasks = {"repair/1": None}
    await store.commit(done)
    assert await store.reconcile_tasks() == {}


def dead_letter_of(number, handler="h", **facts):
    return HandlerDeadLetter(
        handler, f"id{number}", number, "run1", "run.updated", 1, "boom", 1_000 - number, b"{}", **facts
    )


async def test_dead_letters_are_asked_for_again_and_resolved(store, tenure):
    dead_letters = [dead_letter_of(number) for number in range(1, 5)]
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a"), dead_letters)
    await store.save_cursor(tenure, "other", SavedCursor(1, b"a"), [dead_letter_of(9, "other")])
    await store.redrive_dead_letters("h", ["id3", "id1", "id2", "nobody"])
    assert (await store.pending_commands(["h", "none"])) == {
        "h": PendingCommands((), 4, 3),
        "none": PendingCommands(),
    }
    assert await store.redrives("h", 2) == dead_letters[:2], "in journal order"
    again = replace(dead_letters[2], error="still", attempts=2)
    await store.resolve_dead_letters("h", ["id1"], [again])
    assert await store.redrives("h", 10) == [dead_letters[1]]
    assert await store.handler_dead_letters("h", 10) == [dead_letters[3], again, dead_letters[1]], (
        "oldest first by time"
    )
    assert await store.handler_dead_letters(None, 2) == [again, dead_letters[1]]
    await store.resolve_dead_letters("h", ["id2", "id3", "id4"])
    assert (await store.pending_commands(["h"]))["h"] == PendingCommands()
    assert await store.handler_dead_letters(None, 10) == [dead_letter_of(9, "other")]


async def test_orders_are_kept_until_they_are_removed_with_their_progress(store, tenure):
    pause = HandlerCommand("b", "h", "pause", 2)
    replay = HandlerCommand("a", "h", "replay", 1, 3, 9)
    for command in (pause, replay, pause, HandlerCommand("c", "other", "pause", 1)):
        await store.put_command(command)
    assert (await store.pending_commands(["h"]))["h"].commands == (replay, pause)
    await store.save_cursor(
        tenure, replay.cursor, SavedCursor(1, b"a"), [dead_letter_of(1)], {"r": SavedBlockedRun("r", 4)}
    )
    assert [each.event_id for each in await store.handler_dead_letters("h", 10)] == ["id1"]
    await store.remove_command(replay, progress=False)
    assert await store.cursor(replay.cursor) is not None
    await store.remove_command(replay)
    assert (await store.pending_commands(["h"]))["h"].commands == (pause,)
    assert await store.cursor(replay.cursor) is None
    assert await store.blocked_runs(replay.cursor) == []
    assert len(await store.handler_dead_letters("h", 10)) == 1


async def test_a_forgotten_handler_leaves_nothing_and_a_running_one_is_refused(store, tenure):
    await store.save_cursor(
        tenure, "h", SavedCursor(1, b"a"), [dead_letter_of(1)], {"r": SavedBlockedRun("r", 4)}
    )
    replay = HandlerCommand("a", "h", "replay", 1, 3, 9)
    await store.put_command(replay)
    await store.save_cursor(tenure, replay.cursor, SavedCursor(1, b"a"))
    await store.save_cursor(tenure, "other", SavedCursor(1, b"b"), [dead_letter_of(2, "other")])
    await store.redrive_dead_letters("h", ["id1"])
    await store.forget_handler("h")
    assert set(await store.cursors()) == {"other"}
    assert await store.blocked_runs("h") == []
    assert (await store.pending_commands(["h"]))["h"] == PendingCommands()
    assert await store.handler_dead_letters("h", 10) == []
    assert len(await store.handler_dead_letters("other", 10)) == 1
    with pytest.raises(CommitRefused):
        await store.save_cursor(tenure, "h", SavedCursor(2, b"a"))
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a"))


async def test_what_a_handler_has_done_is_remembered_for_it_alone_and_for_a_time(store):
    assert not await store.was_done("h", "k", 0)
    await store.mark_done("h", "k", 100, 0)
    await store.mark_done("h", "k2", 200, 0)
    assert await store.was_done("h", "k", 100)
    assert not await store.was_done("h", "k", 101)
    assert not await store.was_done("other", "k", 0)
    await store.mark_done("h", "k3", 300, 150)
    assert [await store.was_done("h", key, 0) for key in ("k", "k2", "k3")] == [False, True, True]
    await store.forget_handler("h")
    assert not await store.was_done("h", "k3", 0)


async def test_the_size_counts_records_and_knows_how_much_room_there_is(store, tenure):
    assert (await store.size()).records == 0
    await store.commit(commit_of(tenure, 1, states={"r1": b"x" * 100_000, "r2": b"x"}))
    await store.commit(commit_of(tenure, 2, states={"r1": b"y" * 100_000}))
    size = await store.size()
    assert size.records == 2
    assert size.bytes > 100_000
    if size.disk_free is None:
        assert store.url.startswith("redis"), "a server's disk is its own business"
    else:
        assert size.limit > size.bytes
        assert 0 <= size.limit - size.bytes - size.disk_free < 1_000_000, "the file and what is free"


async def test_the_front_of_the_journal_is_removed_with_what_names_it(store, tenure):
    await store.commit(commit_of(tenure, 1, events=2_500))
    before = await store.size()
    assert before.journal_bytes > 2_500 * 5
    assert before.bytes >= before.journal_bytes
    await store.trim(tenure, 2_300)
    assert await store.bounds() == (2_301, 2_500)
    assert [entry.offset for entry in await store.read_run("run1")] == list(range(2_302, 2_501, 2))
    assert (await store.size()).journal_bytes < before.journal_bytes
    await store.trim(tenure, 2_300)
    await store.trim(tenure, 9_999)
    assert await store.bounds() == (2_501, 2_500)
    await store.commit(commit_of(tenure, 2, events=1))
    assert [entry.offset for entry in await store.read(0, 10)] == [2_501]
    await store.release(tenure)
    await store.acquire("two", LEASE_MS)
    with pytest.raises(CommitRefused):
        await store.trim(tenure, 2_501)
    assert await store.bounds() == (2_501, 2_501)


# ---------------------------------------------------------------- looking


async def test_who_only_looks_is_told_that_nothing_was_ever_written_and_writes_nothing_to_find_out(new_store):
    for _ in range(2):
        looking = new_store(read_only=True)
        with pytest.raises(StoreEmpty):
            await looking.open()
        assert await looking.write_problems() == [], "it could be written to"
        await looking.aclose()
    store = new_store()
    await store.open()
    await store.aclose()
    looking = new_store(read_only=True)
    await looking.open()
    assert await looking.write_problems() == []
    await looking.aclose()
