import asyncio

import pytest

from consumer.ingest.inbox import Inbox, InboxClosed
from consumer.ports import Answer, SessionEnded


def answer(messages: int, size: int = 10) -> Answer:
    return Answer(1, [{"channel": "/data/x", "data": {}}] * messages, b"x" * size, None, 0)


async def starts_waiting(awaitable):
    task = asyncio.ensure_future(awaitable)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_items_come_out_in_the_order_in_which_they_went_in():
    inbox = Inbox(100, 10_000)
    items = [answer(1), SessionEnded(1, "x", 0), answer(2)]
    for item in items:
        await inbox.put(item)
    assert [await inbox.get() for _ in items] == items
    assert (inbox.messages, inbox.bytes, len(inbox)) == (0, 0, 0)


async def test_an_empty_inbox_takes_one_answer_of_any_size():
    inbox = Inbox(2, 5)
    await inbox.put(answer(1_000, 1_000))
    assert (inbox.messages, inbox.bytes) == (1_000, 1_000)
    waiting = await starts_waiting(inbox.put(answer(1, 1)))
    await inbox.get()
    await waiting


@pytest.mark.parametrize("second", [answer(2, 1), answer(1, 60)])
async def test_an_answer_waits_for_room_in_messages_and_in_bytes(second):
    inbox = Inbox(3, 100)
    await inbox.put(answer(2, 50))
    waiting = await starts_waiting(inbox.put(second))
    await inbox.get()
    await waiting
    assert await inbox.get() is second


async def test_notices_of_sessions_never_wait():
    inbox = Inbox(1, 1)
    await inbox.put(answer(5, 5))
    await inbox.put(SessionEnded(1, "x", 0))
    assert len(inbox) == 2


async def test_a_cancelled_put_leaves_nothing_inside():
    inbox = Inbox(1, 1)
    first = answer(5)
    await inbox.put(first)
    waiting = await starts_waiting(inbox.put(answer(1)))
    waiting.cancel()
    await asyncio.wait({waiting})
    assert await inbox.get() is first
    assert await inbox.get(0) is None


@pytest.mark.looptime
async def test_get_gives_up_after_its_time():
    inbox = Inbox(1, 1)
    started = asyncio.get_running_loop().time()
    assert await inbox.get(2_500) is None
    assert asyncio.get_running_loop().time() - started == pytest.approx(2.5)
    assert await inbox.get(0) is None


async def test_drained_waits_until_everything_is_taken_and_processed():
    inbox = Inbox(10, 100)
    await inbox.drained()
    await inbox.put(answer(1))
    await inbox.put(answer(1))
    waiting = await starts_waiting(inbox.drained())
    await inbox.get()
    inbox.processed()
    assert not waiting.done()
    await inbox.get()
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.processed()
    await waiting


async def test_closing_wakes_everybody_and_keeps_what_is_inside():
    inbox = Inbox(1, 1)
    kept = answer(1)
    await inbox.put(kept)
    putting = await starts_waiting(inbox.put(answer(1)))
    draining = await starts_waiting(inbox.drained())
    inbox.close()
    for task in (putting, draining):
        with pytest.raises(InboxClosed):
            await task
    assert inbox.closed
    assert await inbox.get() is kept
    assert await inbox.get() is None
    with pytest.raises(InboxClosed):
        await inbox.put(SessionEnded(1, "x", 0))


async def test_closing_wakes_who_waits_for_an_item():
    inbox = Inbox(1, 1)
    getting = await starts_waiting(inbox.get())
    inbox.close()
    assert await getting is None


@pytest.mark.parametrize(("messages", "size"), [(0, 1), (1, 0)])
def test_an_inbox_without_room_is_refused(messages, size):
    with pytest.raises(ValueError, match="room"):
        Inbox(messages, size)


def test_an_empty_inbox_is_an_inbox():
    assert Inbox(1, 1)


async def test_answers_that_fill_the_limits_exactly_fit():
    inbox = Inbox(3, 100)
    await inbox.put(answer(1, 50))
    await inbox.put(answer(2, 50))
    assert (inbox.messages, inbox.bytes) == (3, 100)


async def test_an_inbox_with_several_answers_is_empty_only_when_all_of_them_are_taken():
    inbox = Inbox(3, 100)
    for _ in range(3):
        await inbox.put(answer(1))
    waiting = await starts_waiting(inbox.put(answer(9)))
    await inbox.get()
    await inbox.get()
    await asyncio.sleep(0)
    assert not waiting.done(), "one is inside, and nine more do not fit"
    await inbox.get()
    await waiting
    assert inbox.messages == 9


async def test_an_inbox_that_was_emptied_takes_one_answer_of_any_size_again():
    inbox = Inbox(2, 5)
    for _ in range(3):
        await inbox.put(answer(1_000))
        await inbox.get()
    await inbox.put(answer(1_000))


async def test_looking_only_waits_for_nothing():
    inbox = Inbox(1, 1)
    assert await asyncio.wait_for(inbox.get(0), 5) is None
    inbox.close()
    assert await asyncio.wait_for(inbox.get(None), 5) is None


@pytest.mark.looptime
async def test_a_millisecond_is_a_time_to_wait():
    inbox = Inbox(1, 1)
    started = asyncio.get_running_loop().time()
    assert await inbox.get(1) is None
    assert asyncio.get_running_loop().time() - started == pytest.approx(0.001)


async def test_what_is_inside_is_taken_without_waiting():
    inbox = Inbox(1, 1)
    await inbox.put(answer(1))
    assert await asyncio.wait_for(inbox.get(), 5) is not None


async def test_an_inbox_that_is_closed_says_so():
    with pytest.raises(InboxClosed, match="its tenure is over"):
        raise InboxClosed
