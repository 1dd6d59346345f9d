"""The looptime plugin asks for an event loop in synchronous tests too; on Python 3.11 that would make one that nobody closes."""

import asyncio


def pytest_sessionstart() -> None:
    asyncio.set_event_loop(None)
