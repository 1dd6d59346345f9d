import asyncio

import pytest

from consumer.ingest.buffer import BufferClosed, IntakeBuffer
from consumer.ports.source import Answer, SessionEnded


def answer(messages: int, size: int = 10) -> Answer:
    return Answer(1, [{"channel": "/data/x", "data": {}}] * messages, b"x" * size, None, 0)


async def starts_waiting(awaitable):
    task = asyncio.ensure_future(awaitable)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_items_come_out_in_the_order_in_which_they_went_in():
    buffer = IntakeBuffer(100, 10_000)
    items = [answer(1), SessionEnded(1, "x", 0), answer(2)]
    for item in items:
        await buffer.put(item)
    assert [await buffer.get() for _ in items] == items
    assert (buffer.messages, buffer.bytes, len(buffer)) == (0, 0, 0)


async def test_an_empty_buffer_takes_one_answer_of_any_size():
    buffer = IntakeBuffer(2, 5)
    await buffer.put(answer(1_000, 1_000))
    assert (buffer.messages, buffer.bytes) == (1_000, 1_000)
    waiting = await starts_waiting(buffer.put(answer(1, 1)))
    await buffer.get()
    await waiting


@pytest.mark.parametrize("second", [answer(2, 1), answer(1, 60)])
async def test_an_answer_waits_for_room_in_messages_and_in_bytes(second):
    buffer = IntakeBuffer(3, 100)
    await buffer.put(answer(2, 50))
    waiting = await starts_waiting(buffer.put(second))
    await buffer.get()
    await waiting
    assert await buffer.get() is second


async def test_notices_of_sessions_never_wait():
    buffer = IntakeBuffer(1, 1)
    await buffer.put(answer(5, 5))
    await buffer.put(SessionEnded(1, "x", 0))
    assert len(buffer) == 2


async def test_a_cancelled_put_leaves_nothing_inside():
    buffer = IntakeBuffer(1, 1)
    first = answer(5)
    await buffer.put(first)
    waiting = await starts_waiting(buffer.put(answer(1)))
    waiting.cancel()
    await asyncio.wait({waiting})
    assert await buffer.get() is first
    assert await buffer.get(0) is None


@pytest.mark.looptime
async def test_get_gives_up_after_its_time():
    buffer = IntakeBuffer(1, 1)
    started = asyncio.get_running_loop().time()
    assert await buffer.get(2_500) is None
    assert asyncio.get_running_loop().time() - started == pytest.approx(2.5)
    assert await buffer.get(0) is None


async def test_drained_waits_until_everything_is_taken_and_processed():
    buffer = IntakeBuffer(10, 100)
    await buffer.wait_drained()
    await buffer.put(answer(1))
    await buffer.put(answer(1))
    waiting = await starts_waiting(buffer.wait_drained())
    await buffer.get()
    buffer.mark_processed()
    assert not waiting.done()
    await buffer.get()
    await asyncio.sleep(0)
    assert not waiting.done()
    buffer.mark_processed()
    await waiting


async def test_closing_wakes_everybody_and_keeps_what_is_inside():
    buffer = IntakeBuffer(1, 1)
    kept = answer(1)
    await buffer.put(kept)
    putting = await starts_waiting(buffer.put(answer(1)))
    draining = await starts_waiting(buffer.wait_drained())
    buffer.close()
    for task in (putting, draining):
        with pytest.raises(BufferClosed):
            await task
    assert await buffer.get() is kept
    assert await buffer.get() is None
    with pytest.raises(BufferClosed):
        await buffer.put(SessionEnded(1, "x", 0))


async def test_closing_wakes_who_waits_for_an_item():
    buffer = IntakeBuffer(1, 1)
    getting = await starts_waiting(buffer.get())
    buffer.close()
    assert await getting is None


@pytest.mark.parametrize(("messages", "size"), [(0, 1), (1, 0)])
def test_a_buffer_without_room_is_refused(messages, size):
    with pytest.raises(ValueError, match="room"):
        IntakeBuffer(messages, size)


def test_an_empty_buffer_is_a_buffer():
    assert IntakeBuffer(1, 1)


async def test_answers_that_fill_the_limits_exactly_fit():
    buffer = IntakeBuffer(3, 100)
    await buffer.put(answer(1, 50))
    await buffer.put(answer(2, 50))
    assert (buffer.messages, buffer.bytes) == (3, 100)


async def test_a_buffer_with_several_answers_is_empty_only_when_all_of_them_are_taken():
    buffer = IntakeBuffer(3, 100)
    for _ in range(3):
        await buffer.put(answer(1))
    waiting = await starts_waiting(buffer.put(answer(9)))
    await buffer.get()
    await buffer.get()
    await asyncio.sleep(0)
    assert not waiting.done(), "one is inside, and nine more do not fit"
    await buffer.get()
    await waiting
    assert buffer.messages == 9


async def test_a_buffer_that_was_emptied_takes_one_answer_of_any_size_again():
    buffer = IntakeBuffer(2, 5)
    for _ in range(3):
        await buffer.put(answer(1_000))
        await buffer.get()
    await buffer.put(answer(1_000))


async def test_looking_only_waits_for_nothing():
    buffer = IntakeBuffer(1, 1)
    assert await asyncio.wait_for(buffer.get(0), 5) is None
    buffer.close()
    assert await asyncio.wait_for(buffer.get(None), 5) is None


@pytest.mark.looptime
async def test_a_millisecond_is_a_time_to_wait():
    buffer = IntakeBuffer(1, 1)
    started = asyncio.get_running_loop().time()
    assert await buffer.get(1) is None
    assert asyncio.get_running_loop().time() - started == pytest.approx(0.001)


async def test_what_is_inside_is_taken_without_waiting():
    buffer = IntakeBuffer(1, 1)
    await buffer.put(answer(1))
    assert await asyncio.wait_for(buffer.get(), 5) is not None


async def test_a_buffer_that_is_closed_says_so():
    with pytest.raises(BufferClosed, match="its tenure is over"):
        raise BufferClosed
