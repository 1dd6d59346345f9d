"""Where a new handler begins in the journal: ``start = latest | earliest | TIME``."""

from __future__ import annotations

from datetime import datetime

import orjson

from consumer.clock import to_ms
from consumer.delivery.handler_settings import Start
from consumer.ports.journal import JournalStore

__all__ = ["first_offset"]

SCAN = 1_000


async def first_offset(store: JournalStore, start: Start) -> int:
    """The offset after which a new handler is given events.

    For a time it is the one before the first event that happened then or later. Journal order is not strictly that of time (late and
    reconciled events stand where they became known), so older events may follow it. When there is no such event, it is the end.

    Raises:
        StoreUnavailable: ask again.
    """
    first, last = await store.bounds()
    if start == "latest":
        return last
    if start == "earliest" or not isinstance(start, datetime):
        return first - 1
    wanted_ms = to_ms(start)
    after = first - 1
    while after < last:
        entries = await store.read(after, SCAN)
        for entry in entries:
            if to_ms(datetime.fromisoformat(orjson.loads(entry.data)["time"])) >= wanted_ms:
                return entry.offset - 1
        if not entries:
            break
        after = entries[-1].offset
    return last
