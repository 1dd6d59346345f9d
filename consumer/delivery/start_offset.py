"""Start offset of a new handler: ``start = latest | earliest | TIME``."""

from __future__ import annotations

from datetime import datetime

import orjson

from consumer.clock import to_ms
from consumer.delivery.handler_settings import Start
from consumer.ports.journal import JournalStore

__all__ = ["first_offset"]

READ_LIMIT = 1_000


async def first_offset(store: JournalStore, start: Start) -> int:
    """Offset after which a new handler gets events.

    For a time, it is the offset before the first event of that time or later. Journal order is not strictly the order of time (late and
    reconciled events are appended when they become known), so older events may follow. Without such an event it is the end of the journal.

    Raises:
        StoreUnavailable: try again later.
    """
    first, last = await store.bounds()
    if start == "latest":
        return last
    if start == "earliest" or not isinstance(start, datetime):
        return first - 1
    start_ms = to_ms(start)
    after = first - 1
    while after < last:
        entries = await store.read(after, READ_LIMIT)
        for entry in entries:
            if to_ms(datetime.fromisoformat(orjson.loads(entry.data)["time"])) >= start_ms:
                return entry.offset - 1
        if not entries:
            break
        after = entries[-1].offset
    return last
