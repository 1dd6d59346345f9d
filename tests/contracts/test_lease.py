"""The contract of leases: who is told what, when a lease ends, and that nobody else can end it."""

import asyncio
import time

import pytest

from consumer.errors import CommitRefused
from consumer.ports.delivery import SavedCursor
from consumer.ports.lease import LeaseState, Tenure
from tests.support.builders.commits import LEASE_MS, commit_of


async def test_a_commit_before_anybody_ever_held_the_lease_is_refused(store):
    with pytest.raises(CommitRefused, match=r"commit 7 .* no replica, or by a newer tenure") as refused:
        await store.commit(commit_of(Tenure("made up", "me"), 7))
    assert (refused.value.number, refused.value.holder) == (7, None)
    with pytest.raises(CommitRefused, match="commit 3 "):
        await store.save_cursor(Tenure("made up", "me"), "h", SavedCursor(3, b"a"))
    with pytest.raises(CommitRefused):
        await store.renew(Tenure("made up", "me"), 0, LEASE_MS)
    with pytest.raises(CommitRefused):
        await store.trim(Tenure("made up", "me"), 1)


async def test_who_is_refused_learns_what_and_who_holds_the_lease(new_store, store, tenure):
    await store.save_cursor(tenure, "h", SavedCursor(1, b"a"))
    old = Tenure("made up", "me")
    for refused_by in (
        store.commit(commit_of(old, 7)),
        store.save_cursor(old, "h", SavedCursor(7, b"b")),
        store.save_cursor(tenure, "h", SavedCursor(7, b"b")),
        store.renew(old, 7, LEASE_MS),
    ):
        with pytest.raises(CommitRefused) as refused:
            await refused_by
        assert (refused.value.number, refused.value.holder) == (7, "one")
    with pytest.raises(CommitRefused) as refused:
        await store.trim(old, 1)
    assert (refused.value.number, refused.value.holder) == (0, "one")


async def test_who_wins_the_lease_gets_a_tenure_with_a_token_of_its_own(store):
    first = await store.acquire("one", LEASE_MS)
    await store.release(first)
    again = await store.acquire("one", LEASE_MS)
    assert (first.holder, again.holder) == ("one", "one")
    assert first.token != again.token


async def test_the_lease_ends_so_many_milliseconds_of_this_machine_from_now(store, tenure):
    before_ms = time.time_ns() // 1_000_000
    state = await store.lease()
    assert (state.holder, state.number) == ("one", 0)
    assert isinstance(state.expires_ms, int)
    assert before_ms < state.expires_ms <= time.time_ns() // 1_000_000 + LEASE_MS
    await store.commit(commit_of(tenure, 1))
    await store.renew(tenure, 1, 5 * LEASE_MS)
    renewed = await store.lease()
    assert renewed.number == 1
    assert renewed.expires_ms - state.expires_ms >= 4 * LEASE_MS


async def test_a_lease_that_is_left_or_ran_out_has_no_holder(new_store, store):
    assert await store.lease() == LeaseState(None, 0, 0)
    tenure = await store.acquire("one", LEASE_MS)
    await store.release(tenure)
    assert (await store.lease()).holder is None
    await store.acquire("two", 1)
    await asyncio.sleep(0.05)
    assert (await store.lease()).holder is None


async def test_only_who_holds_the_lease_can_leave_it(store, tenure):
    await store.release(Tenure("made up", "me"))
    assert (await store.lease()).holder == "one"
