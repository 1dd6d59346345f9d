"""What holds for every test.

The looptime plugin asks for an event loop in synchronous tests too; on Python 3.11 that would make one that nobody closes.
"""

import asyncio
import os
from collections.abc import Iterator
from itertools import islice

import pytest

from tests.support.processes.secrets_kept import Witness, witnessed

_witness: Witness | None = None


def pytest_sessionstart() -> None:
    asyncio.set_event_loop(None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scatter the long ones over the first two thirds of each worker's share.

    They start processes and wait for them: side by side they are in each other's way, and one that is left for the end keeps everybody.
    """
    shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    is_long = [item.get_closest_marker("long") is not None for item in items]
    long = [item for item, yes in zip(items, is_long, strict=True) if yes]
    short = [item for item, yes in zip(items, is_long, strict=True) if not yes]
    items[:] = [
        item for share in range(shares) for item in _mixed(long[share::shares], _part(short, share, shares))
    ]


def _part(items: list[pytest.Item], share: int, shares: int) -> list[pytest.Item]:
    return items[len(items) * share // shares : len(items) * (share + 1) // shares]


def _mixed(long: list[pytest.Item], short: list[pytest.Item]) -> Iterator[pytest.Item]:
    between = len(short) * 2 // 3 // max(len(long), 1)
    rest = iter(short)
    for item in long:
        yield item
        yield from islice(rest, between)
    yield from rest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if _witness is not None:
        _witness.captured += ((f"{report.nodeid}: {name}", text) for name, text in report.sections)


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Search everything that was written, when everything has been."""
    global _witness
    with witnessed() as _witness:
        yield
    leaks = _witness.leaks(tmp_path_factory.getbasetemp())
    assert leaks == [], f"a secret was told in {leaks[:5]}"
