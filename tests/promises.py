"""Takes the code of each promise away and shows that every test that the page of the tests names for it goes red: ``make promises``.

The table of promises in ``tests/README.md`` names tests. For each of them stands here a piece of code that keeps the promise, what the code
would be without it, and which of the tests in the file are to be tried. ``make mutants`` does the same rule by rule, many for each promise,
with the quickest test; this command says that none of the tests in the table is an ornament. Half an hour on two cores.

    python -m tests.promises --promise 2       # those of one promise
    python -m tests.promises --test test_kill  # those of tests whose path contains this
"""

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.mutants import MUTANTS, ROOT, Mutant, copy_to, killed

INTERPRETER = "consumer/ingest/interpret.py"
POSITIONS = "consumer/ingest/positions.py"
HEALTH = "consumer/telemetry/health.py"

RULES = {mutant.rule: mutant for mutant in MUTANTS}
RUN_ORDER = "simulated: what failed goes before what follows in its run"
DUPLICATES = "a duplicate is recognised by identity"


def _without(rule: str, file: str, old: str, new: str) -> str:
    RULES[rule] = Mutant(rule, file, old, new, "")
    return rule


UNCOMMITTED = _without(
    "a position is no checkpoint before its changes are committed",
    POSITIONS,
    "while entries and entries[0].complete and entries[0].uncommitted_parts == 0:",
    "while entries and entries[0].complete:",
)
RECONCILED = _without(
    "a gap begins a task",
    INTERPRETER,
    "    _add_reconcile_task(change, batch)\n",
    "",
)
TASKS = _without(
    "tasks are written with the commit that begins them",
    "consumer/ingest/pending_commit.py",
    "commit.reconcile_tasks = {task_id: task.encode() for task_id, task in batch.reconcile_tasks.items()}",
    "commit.reconcile_tasks = {}",
)
UNACKNOWLEDGED = _without(
    "a place never passes what is unsettled",
    "consumer/delivery/cursor.py",
    "self._offset = tracked[0] - 1 if tracked else self._highest_announced",
    "self._offset = self._highest_announced",
)
BLOCKED_RUNS = _without(
    "blocked runs are saved with the place",
    "consumer/delivery/cursor_saver.py",
    "rows = {**self._unsaved_runs, **self.cursor.changed_rows()}",
    "rows = {}",
)
HELD_BACK = _without(
    "an event that failed holds back what follows in its run",
    "consumer/delivery/lanes.py",
    "        elif lane.waiting[0].attempts:\n",
    "        elif False:\n",
)
IN_ORDER = _without(
    "a change waits for earlier ones",
    "consumer/ingest/sequencer.py",
    "            if answered_ms - max(lowest.answered_ms, waits_from[0]) >= self._lateness_ms:\n",
    "            if True:\n",
)
VERSIONS = _without(
    "an older change never overwrites a newer one",
    "consumer/domain/record_state.py",
    "            if version is None or version <= key:\n",
    "            if True:\n",
)
SESSION_TOLD = _without(
    "without a session the service is not ready",
    HEALTH,
    "        reasons += self._session_reasons(now_ms)\n",
    "",
)
COMMITS_TOLD = _without(
    "while commits fail the service is not ready",
    HEALTH,
    "        if facts.commits.failure is not None:\n",
    "        if False:\n",
)
READY_SHOWN = _without(
    "the metric of readiness is what /readyz says",
    "consumer/telemetry/service_telemetry.py",
    "float(health.report(clock.monotonic_ms()).ready)",
    "1.0",
)
ACKNOWLEDGED = _without(
    "every channel has to be acknowledged",
    "consumer/salesforce/cometd_client.py",
    'if reply.get("subscription") not in (name, [name]):',
    "if False:",
)
SILENCE_TOLD = _without(
    "silence is told", HEALTH, "        if silent_ms > self._poll_limit_ms:\n", "        if False:\n"
)
STALL_SEEN = _without(
    "a loop that stands still is noticed",
    "consumer/telemetry/watchdogs.py",
    "if stalled_at is None and now - last_heartbeat_at > self._limit_s and not was_frozen:",
    "if False:",
)
READY_TOLD = _without(
    "whatever has a reason is not ready",
    HEALTH,
    "            ready=not reasons,\n",
    "            ready=True,\n",
)
CACHE_BOUND = _without(
    "the cache has a limit",
    "consumer/ingest/states/cache.py",
    "while self.weight > self._max_weight:",
    "while False:",
)
BUFFER_BOUND = _without(
    "the buffer has a limit",
    "consumer/ingest/buffer.py",
    "while not self._closed and self._answers and not self._fits(item):",
    "while False:",
)
SESSION_ENDED = _without(
    "a full buffer ends the session",
    "consumer/ingest/supervisor.py",
    "async with asyncio.timeout(self._options.buffer_full_ms / 1000):",
    "async with asyncio.timeout(None):",
)
HOLD_BOUND = _without("what is held back has a limit", "consumer/ingest/receive.py",
                      "return len(self._sequencer) >= self._options.max_held", "return False")  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """A test that the table names, and what it notices.

    Attributes:
        promise: its number in the table.
        test: path, as the table links it.
        rule: what is taken out.
        only: for pytest's ``-k``: the tests in the file that are tried, where others would take long.
    """

    promise: int
    test: str
    rule: str
    only: str = ""


PROOFS = (
    Proof(1, "tests/acceptance/test_kill.py", UNCOMMITTED),
    Proof(1, "tests/acceptance/test_chaos_redis.py", UNCOMMITTED, "killing_the_service"),
    Proof(1, "tests/acceptance/test_reconcile.py", RECONCILED, "gaps_anywhere"),
    Proof(1, "tests/acceptance/test_kill_reconcile.py", TASKS),
    Proof(1, "tests/integration/ingest/test_reconcile.py", "what a snapshot finds too fresh is read again"),
    Proof(1, "tests/unit/ingest/test_positions.py", UNCOMMITTED),
    Proof(1, "tests/integration/ingest/test_pipeline.py", UNCOMMITTED),
    Proof(1, "tests/simulation/test_simulation.py", UNCOMMITTED, "guarantees"),
    Proof(2, "tests/acceptance/test_kill.py", DUPLICATES),
    Proof(2, "tests/contracts/test_store.py", "a commit that was applied is not applied again (SQLite)"),
    Proof(2, "tests/model/test_model.py", DUPLICATES),
    Proof(2, "tests/integration/ingest/test_overlap.py", "commits land one after the other"),
    Proof(2, "tests/acceptance/test_service_interop.py", UNCOMMITTED),
    Proof(2, "tests/properties/test_delivery.py", UNACKNOWLEDGED),
    Proof(2, "tests/acceptance/test_kill_cursors.py", BLOCKED_RUNS),
    Proof(2, "tests/simulation/test_simulation.py", DUPLICATES, "guarantees"),
    Proof(3, "tests/unit/ingest/test_sequencer.py", IN_ORDER),
    Proof(3, "tests/integration/delivery/test_order.py", HELD_BACK),
    Proof(3, "tests/acceptance/test_demo.py", IN_ORDER),
    Proof(3, "tests/simulation/test_simulation.py", RUN_ORDER, "guarantees"),
    Proof(4, "tests/properties/test_state.py", VERSIONS),
    Proof(4, "tests/properties/test_worlds.py", VERSIONS),
    Proof(4, "tests/model/test_model.py", VERSIONS),
    Proof(5, "tests/acceptance/test_faults.py", SESSION_TOLD, "broken_wire"),
    Proof(5, "tests/acceptance/test_store_faults.py", COMMITS_TOLD, "locks"),
    Proof(5, "tests/acceptance/test_alerts.py", READY_SHOWN, "cannot_be_reached"),
    Proof(5, "tests/faults", ACKNOWLEDGED, "acknowledgement_of_another"),
    Proof(5, "tests/unit/telemetry/test_health.py", SILENCE_TOLD),
    Proof(5, "tests/unit/telemetry/test_watchdogs.py", STALL_SEEN),
    Proof(5, "tests/acceptance/test_run.py", READY_TOLD, "unreachable"),
    Proof(6, "tests/unit/ingest/states/test_cache.py", CACHE_BOUND),
    Proof(6, "tests/unit/ingest/test_buffer.py", BUFFER_BOUND),
    Proof(6, "tests/unit/ingest/test_supervisor.py", SESSION_ENDED, "full_inbox"),
    Proof(6, "tests/integration/ingest/test_pipeline.py", HOLD_BOUND),
)


PAGE = ROOT / "tests" / "README.md"


def promised(page: str) -> dict[int, list[str]]:
    """Number of each promise in the table of the page, to the tests that are linked with it, as paths from the root."""
    rows = re.findall(r"^\| ([1-9]) \| \*\*.*\|([^|]*)\|$", page, re.MULTILINE)
    return {
        int(number): [f"tests/{path}" for path in re.findall(r"\]\(([^)]+)\)", links)]
        for number, links in rows
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--promise", type=int, help="its number in the table")
    parser.add_argument("--test", default="", help="part of a test's path")
    wanted = parser.parse_args()
    table = promised(PAGE.read_text())
    tried, unnoticed = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_to(Path(folder))
        for number in sorted(table):
            proofs = [
                proof
                for proof in PROOFS
                if proof.promise == number and wanted.promise in (None, number) and wanted.test in proof.test
            ]
            if proofs:
                print(f"promise {number}", flush=True)
            for proof in proofs:
                tests = (proof.test, *(("-k", proof.only) if proof.only else ()))
                verdict = killed(RULES[proof.rule], copy, tests)
                tried += 1
                unnoticed += verdict != "red"
                print(f"  {verdict:<8} {proof.test}, without: {proof.rule}", flush=True)
    print(f"{tried - unnoticed} of {tried} tests go red without what they are there for")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
