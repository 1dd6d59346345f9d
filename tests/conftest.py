"""What holds for every test.

The looptime plugin asks for an event loop in synchronous tests too; on Python 3.11 that would make one that nobody closes.
"""

import asyncio
from collections.abc import Iterator

import pytest

from tests.secrets_kept import Witness, witnessed

_witness: Witness | None = None


def pytest_sessionstart() -> None:
    asyncio.set_event_loop(None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that no worker begins one when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


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
