"""One change event walks through ingest without turning back, and on to a handler; ``consumer/README.md`` shows the walk.

What counts. ``sys.setprofile`` sees every call in the thread of the event loop. On the walk is a function of ``consumer`` that is given the
change, or what carries it (message, answer, part, position entry, pending commit), or what became of it (record state, batch, commit, event,
delivery, the record's id), or that returns one of these. Left out are functions about the flow as a whole, which carry none of them (is the
buffer full, how long to wait, has the answer ended, is a timer due), vocabulary (``consumer.domain`` but for the decoding, the ports, clocks, names), constructors, and
a coroutine that continues after it had waited, and operators such as ``in``. A call from one module into another enters that one; calls into
the same module that follow each other are one entry, and so is what a module calls in itself. The entries of each module of ingest are
counted from the decoding to the call of the store's commit.
"""

import pytest

from tests.support.rigs.walk import BLOCK, README, walk_of_an_update

pytestmark = pytest.mark.looptime


async def test_a_change_enters_no_module_of_ingest_more_than_twice(tmp_path):
    walk = await walk_of_an_update(tmp_path / "cadence.db")
    entries = walk.entries_of_ingest()
    assert entries["ingest/interpret.py"] == 1
    assert entries["ingest/states/repository.py"] == 2, "load and write back"
    assert max(entries.values()) <= 2, entries


async def test_the_readme_shows_the_walk(tmp_path):
    walk = await walk_of_an_update(tmp_path / "cadence.db")
    shown = BLOCK.search(README.read_text())
    assert shown is not None
    assert shown[0] == walk.text(), "write it anew: python -m tests.support.rigs.walk"
    modules = [module for module, _ in walk.entries()]
    assert modules.index("stores/sqlite/sqlite_ingest.py") < modules.index("delivery/invocation.py")
    assert ("plugin.py", ["FunctionHandler.handle"]) in walk.entries(), "as far as the handler"
