import asyncio
from collections.abc import AsyncIterator

import pytest

from consumer.sandbox import ManualClock, Org, Sandbox, SandboxOptions, World
from consumer.sandbox.cadences import Catalogue
from consumer.sandbox.change_events import ChangeEvent


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"left behind: {left}"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxOptions(seed=5)) as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def committed() -> list[list[ChangeEvent]]:
    """The transactions of `org`, each as its events."""
    return []


@pytest.fixture
def org(clock: ManualClock, committed: list[list[ChangeEvent]]) -> Org:
    made = Org(clock=clock)
    made.on_commit = committed.append
    return made


@pytest.fixture
def world(org: Org) -> World:
    return World(org, Catalogue(org))
