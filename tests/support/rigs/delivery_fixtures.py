from __future__ import annotations

import pytest

from tests.support.rigs.delivery import World
from tests.support.rigs.memory_store import MemoryStore


@pytest.fixture
async def store():
    return MemoryStore()


@pytest.fixture
async def world(store):
    tenure = await store.acquire("test", 10_000)
    assert tenure is not None
    return World(store, tenure)
