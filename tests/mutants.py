"""Takes the rules of the protocol out, one by one, and shows which test goes red: ``python -m tests.mutants`` (``make mutants``).

Each mutant is a rule, the place where the code keeps it, what the code would be without it, and the tests that must fail then. The work is
done in a copy; a mutant that survives, or whose place is not found any more, ends the command with 1.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
STORES = "tests/contracts/test_store.py"
REDIS = "tests/contracts/test_redis_store.py"
PIPELINE = "tests/integration/ingest/test_pipeline.py"
POSITIONS = "tests/unit/ingest/test_positions.py"
SEQUENCER = "tests/unit/ingest/test_sequencer.py"
REQUESTS = "tests/integration/delivery/test_handler_commands.py"
ISOLATION = "tests/integration/delivery/test_isolation.py"
PLUGIN = "tests/integration/delivery/test_plugin_api.py"
RETENTION = "tests/unit/delivery/test_journal_retention.py"
STATE = "tests/properties/test_state.py"
LIFECYCLE = "tests/unit/domain/test_lifecycle.py"
RECORDS = "tests/integration/ingest/test_records.py"
TIMERS = "tests/integration/ingest/test_timers.py"
EXPIRY = "tests/integration/ingest/test_expiry.py"
RECONCILE = "tests/integration/ingest/test_reconcile.py"
PAGES = "consumer/ingest/reconcile/fetch.py"
REPOSITORY = "consumer/ingest/states/repository.py"
SIMULATION = "tests/simulation/test_simulation.py"
OVERLAP = "tests/integration/ingest/test_overlap.py"


@dataclass(frozen=True)
class Mutant:
    rule: str
    file: str
    old: str
    new: str
    tests: str


SQLITE_LEASE = "consumer/stores/sqlite/sqlite_lease.py"
SQLITE_JOURNAL = "consumer/stores/sqlite/sqlite_journal.py"
TRANSACTIONS = "consumer/stores/sqlite/transactions.py"
COMMIT_LUA = "consumer/stores/redis/commit.lua"
LEASE_LUA = "consumer/stores/redis/lease.lua"
PLACE_LUA = "consumer/stores/redis/cursor.lua"

MUTANTS = (
    # ---- a commit under way
    Mutant("what a commit under way changes stays in memory", REPOSITORY, "self._cache.evict(batch.states)", "self._cache.evict(())", OVERLAP),
    Mutant("commits land one after the other", "consumer/ingest/pipeline.py", "        await self._commits.drain()\n        self._states.write_back(batch)",
           "        self._states.write_back(batch)", OVERLAP),
    Mutant("a refusal is noticed though nothing more arrives", "consumer/ingest/pipeline.py", "            if len(self._buffer) == 0 or intake.is_full():",
           "            if False:", OVERLAP),
    Mutant("rows wait until a commit has landed", "consumer/ingest/reconcile/apply.py", "            await self._commits.drain()\n", "", OVERLAP),
    Mutant("timers wait until a commit has landed", "consumer/ingest/pipeline.py", "        await self._commits.drain()\n        watermark_ms", "        watermark_ms", OVERLAP),
    Mutant("whatever is ready when a commit is sealed leaves with it", "consumer/ingest/pending_commit.py", "commit.journal = self.journal + batch.journal",
           "commit.journal = batch.journal", OVERLAP),
    Mutant("positions are marked before channel states are taken", "consumer/ingest/pending_commit.py",
           "        self._mark_committed(batch)\n        commit.channels = channels.states_to_commit(\n"
           "            wall_ms, epochs.greatest_commit_number, include_unchanged=self.channels\n        )\n",
           "        commit.channels = channels.states_to_commit(\n"
           "            wall_ms, epochs.greatest_commit_number, include_unchanged=self.channels\n        )\n        self._mark_committed(batch)\n",
           "tests/unit/ingest/test_pending_commit.py"),
    Mutant("a refused position is forgotten with the gap that it leaves", "consumer/ingest/resume_plan.py", "        self._pending_commit.channels = True\n", "",
           "tests/unit/ingest/test_resume_plan.py"),
    # ---- what Salesforce loses
    Mutant("a gap that is delivered again is one gap", "consumer/ingest/interpret.py", "if change.identity in gap_note.seen:",
           "if False:", RECONCILE),
    Mutant("a row is believed when the answer is two seconds younger", PAGES, "return server_ms - row.at_ms < MIN_ROW_AGE_MS", "return False", RECONCILE),
    Mutant("a record that was asked for and not found is gone", PAGES, "(*rows, *deleted_rows)", "rows", RECONCILE),
    Mutant("the delete log is read after the rows", PAGES, 'next_task = replace(next_task, phase="deleted", after=None)',
           "return FetchedPage(next_task, within, answer.server_ms, unreadable_rows, is_last=True)", RECONCILE),
    Mutant("known records that are not there are gone", PAGES, "deleted_rows = _deleted_rows(\n                task.entity, (one for one in wanted if one not in existing), server_ms\n            )", "pass", RECONCILE),
    Mutant("what a snapshot finds too fresh is read again", PAGES, "new_tasks=(fresh_rows_task(task, fresh),) if fresh else (),", "new_tasks=(),", RECONCILE),
    Mutant("a snapshot is silent", "consumer/ingest/reconcile/compare.py", "if is_new and not unknown_records.emit:", "if False:", RECONCILE),
    Mutant("what was overdue before a snapshot is not due", "consumer/ingest/reconcile/compare.py", "if not unknown_records.fire_overdue and (", "if False and (", RECONCILE),
    Mutant("a row never overwrites what is newer", "consumer/domain/row_diff.py", "    if _is_older(row, known):\n", "    if False:\n", "tests/unit/domain/test_row_diff.py"),
    Mutant("an older row tells what is not known", "consumer/domain/row_diff.py", "(known.with_older_row(row.values, row.at_ms) if is_sparse else None)", "None", "tests/unit/domain/test_row_diff.py"),
    Mutant("a change that a row covers writes nothing", "consumer/domain/record_state.py", "        if self.is_reflected_in_row(change):\n", "        if False:\n", "tests/unit/domain/test_row_diff.py"),
    Mutant("a page waits for held changes of its records", "consumer/ingest/reconcile/apply.py", "and self._touches_held_changes(fetched.page):", "and False:", RECONCILE),
    Mutant("a page waits for nothing else", "consumer/ingest/reconcile/apply.py", "and self._touches_held_changes(fetched.page):", "and self._intake.held:", RECONCILE),
    Mutant("a page is committed with the task's next", "consumer/ingest/reconcile/apply.py", "        self._reconcile_worker.update_tasks(known)\n",
           "        self._reconcile_worker.update_tasks({one: task for one, task in known.items() if task is None})\n", RECONCILE),
    Mutant("a task that fails keeps no other waiting", "consumer/ingest/reconcile/worker.py", "if task.due_ms <= server_ms and self._not_before_ms.get(task.id, 0) <= now_ms",
           "if task.due_ms <= server_ms and max(self._not_before_ms.values(), default=0) <= now_ms", RECONCILE),
    Mutant("REST that is down is not asked by every task in turn", "consumer/ingest/reconcile/worker.py", "if len(self._failing_task_ids) > 1:", "if False:", RECONCILE),
    Mutant("the allocation is asked before everything is read", "consumer/ingest/quota_guard.py", "if changed_records * EVENTS_PER_RECORD <= remaining:", "if True:",
           "tests/unit/ingest/test_quota_guard.py"),
    # ---- what is forgotten
    Mutant("nothing goes while it may be delivered again", "consumer/domain/state_retention.py", "seen_ms is None or seen_ms >= cutoff.identities_ms",
           "seen_ms is None", EXPIRY),
    Mutant("a run that has not ended stays", "consumer/domain/state_retention.py", "return has_ended(state) and cutoff", "return cutoff", EXPIRY),
    Mutant("steps go with their run, not by themselves", "consumer/domain/state_retention.py", "if state.entity != RUN and run is not None:", "if False:", EXPIRY),
    Mutant("nothing goes while something is being mended", "consumer/ingest/reconcile/apply.py", "        if self._is_reconciling():\n", "        if False:\n", EXPIRY),
    Mutant("a record whose change waits stays", "consumer/ingest/expire.py", "key in uncommitted_ids or run_id in uncommitted_ids or not is_expirable", "not is_expirable", EXPIRY),
    Mutant("what goes, goes from the cache too", REPOSITORY, "                self._cache.discard(record_id)\n", "                pass\n", EXPIRY),
    Mutant("what is forgotten is decided on what is known then", "consumer/ingest/expire.py", "not is_expirable(state, run, cutoff)", "False", EXPIRY),
    # ---- tenure
    Mutant("every commit carries the token (SQLite)", TRANSACTIONS, "lease[0] != commit.token or ", "", STORES),
    Mutant("every commit carries the token (Redis)", COMMIT_LUA, "lease[1] ~= ARGV[1] or ", "", STORES),
    Mutant("every commit carries its number (SQLite)", TRANSACTIONS,
           " or lease[1] not in {commit.number - 1, commit.number}", "", STORES),
    Mutant("every commit carries its number (Redis)", COMMIT_LUA,
           "if number ~= next_number - 1 then return {'refused', lease[3] or ''} end", "", STORES),
    Mutant("a commit that was applied is not applied again (SQLite)", TRANSACTIONS,
           "    if lease[1] == commit.number:\n        return False\n", "", STORES),
    Mutant("a commit that was applied is not applied again (Redis)", COMMIT_LUA,
           "if number == next_number then return {'again'} end\nif number ~= next_number - 1", "if number ~= next_number and number ~= next_number - 1", STORES),
    Mutant("winning writes a fresh token (SQLite)", SQLITE_LEASE, "token = secrets.token_hex(16)\n\n        def win",
           'token = "the same"\n\n        def win', STORES),
    Mutant("a free lock ends no lease but that of who had it (SQLite)", SQLITE_LEASE, "and row[2] != lock_token:", "and lock_token is None:",
           "tests/contracts/test_sqlite_store.py"),
    Mutant("winning writes a fresh token (Redis)", "consumer/stores/redis/redis_lease.py",
           "token = secrets.token_hex(16)\n        answer", 'token = "the same"\n        answer', STORES),
    Mutant("renewals check the number (SQLite)", SQLITE_LEASE, "WHERE id = 1 AND token = ? AND number = ?",
           "WHERE id = 1 AND token = ? AND ? >= 0", STORES),
    Mutant("renewals check the number (Redis)", LEASE_LUA,
           "if tonumber(lease[2]) ~= tonumber(ARGV[4]) then return {0, holder} end", "", STORES),
    Mutant("a place moves under the tenure's token only (Redis)", PLACE_LUA,
           "if lease[1] ~= ARGV[1] then return {0, lease[2] or ''} end", "", STORES),
    Mutant("a place moves by compare-and-set (SQLite)", TRANSACTIONS, "if revision != cursor.revision - 1 or ",
           "if ", STORES),
    Mutant("the org's id is stored and another is refused (SQLite)", TRANSACTIONS, "    if org != commit.org_id:\n", "    if False:\n", STORES),
    Mutant("the org's id is stored and another is refused (Redis)", COMMIT_LUA,
           "if org and org ~= ARGV[3] then return {'foreign', org} end", "", STORES),
    Mutant("the script validates everything before its first write", COMMIT_LUA,
           "  if found ~= 'none' and found ~= kind then", "  if false then", REDIS),
    Mutant("the script starts with #!lua", COMMIT_LUA, "#!lua\n", "\n", REDIS),
    Mutant("the client's own retries are off", "consumer/stores/redis/redis_connection.py", "retry=Retry(NoBackoff(), 0)",
           "retry=Retry(NoBackoff(), 3)", REDIS),
    Mutant("a place past the end of the journal is refused (Redis)", PLACE_LUA,
           "if tonumber(ARGV[5]) > last then return {0, lease[2] or ''} end", "", STORES),
    Mutant("a lost reply is answered by the same commit", "consumer/ingest/commits.py",
           "                except StoreUnavailable as error:", "                except ZeroDivisionError as error:",
           "tests/unit/ingest/test_commits.py"),
    Mutant("everything is built from the store", "consumer/ingest/tenure.py",
           "options.start, await store.channels())", "options.start, {})", PIPELINE),
    # ---- positions
    Mutant("a position is finished when another has followed", "consumer/ingest/positions.py",
           "while entries and entries[0].complete and entries[0].uncommitted_parts == 0:",
           "while entries and entries[0].uncommitted_parts == 0:", POSITIONS),
    Mutant("a position is finished when all its parts are committed", "consumer/ingest/positions.py",
           "while entries and entries[0].complete and entries[0].uncommitted_parts == 0:",
           "while entries and entries[0].complete:", POSITIONS),
    Mutant("a merged event is one position with n parts", "consumer/ingest/receive.py",
           "entry = positions.arrive(position, len(changes))", "entry = positions.arrive(position, 1)", PIPELINE),
    Mutant("messages that share a replay id are one position", "consumer/ingest/positions.py",
           "(position is None or position == last.position)", "position is None", POSITIONS),
    Mutant("what was incomplete at a session end is no checkpoint", "consumer/ingest/positions.py",
           "            self._entries[-1].position = None\n            self._entries[-1].complete = True\n",
           "            self._entries[-1].complete = True\n", POSITIONS),
    Mutant("a session resumes after what was handed over completely", "consumer/ingest/positions.py",
           "                self._resume = entry.position\n", "                pass\n", POSITIONS),
    Mutant("a channel's birth is committed", "consumer/ingest/channels.py",
           "return ALL_RETAINED  # it has a birth", "return TIP  # it has a birth", PIPELINE),
    Mutant("what was committed before the birth is ignored", "consumer/ingest/interpret.py",
           "commit_ms < channel.birth_ms - BIRTH_SLACK_MS", "False", PIPELINE),
    Mutant("polled_through within the retention means nothing was missed", "consumer/ingest/resume_plan.py",
           "missed = polled_ms is None or now_ms - polled_ms > BUS_RETENTION_MS", "missed = True", PIPELINE),
    # ---- identity
    Mutant("a duplicate is recognised by identity", "consumer/ingest/interpret.py",
           "change.identity in record.seen", "False", PIPELINE),
    Mutant("identities are committed with the state", "consumer/domain/record_state.py", '"s": self.seen,', '"s": {},', STATE),
    Mutant("version <= stored is not a duplicate test", "consumer/ingest/interpret.py",
           "change.identity in record.seen",
           "(change.identity in record.seen or (record.highest_key is not None and part.key <= record.highest_key))", PIPELINE),
    Mutant("an unknown change older than the memory is not journaled", "consumer/ingest/interpret.py",
           "if commit_ms < loaded.newest_commit_ms - IDENTITY_RETENTION_MS:", "if False:", PIPELINE),
    Mutant("identities are kept for 96 hours", "consumer/domain/record_state.py", "96 * 3600 * 1000", "48 * 3600 * 1000", PIPELINE),
    # ---- order
    Mutant("(a) lateness of time with answered polls", "consumer/ingest/sequencer.py",
           "if answered_ms - max(lowest.answered_ms, waits_from[0]) >= self._lateness_ms:", "if False:", SEQUENCER),
    Mutant("(a) only time with answered polls counts", "consumer/ingest/stream_clock.py",
           "            self.answered_ms += received_ms - self.answered_at_ms\n", "            self.answered_ms += received_ms - self.answered_at_ms + 10_000\n", PIPELINE),
    Mutant("time without a session does not count", "consumer/ingest/stream_clock.py",
           "        self._elapsed_ms = self.session_ms(now_ms)\n        self.answered_at_ms = None\n", "        pass\n", "tests/unit/ingest/test_stream_clock.py"),
    Mutant("an overdue poll stops session time", "consumer/ingest/stream_clock.py",
           "min(max(now_ms - self.answered_at_ms, 0), self._poll_limit_ms)", "max(now_ms - self.answered_at_ms, 0)", "tests/unit/ingest/test_stream_clock.py"),
    Mutant("after an opening a change waits until every channel has caught up", "consumer/ingest/catch_up.py",
           "elif progress.greatest is None or progress.greatest <= key:", "elif False:", SEQUENCER),
    Mutant("a channel that still delivers is not quiet", "consumer/ingest/catch_up.py",
           "answered_ms - progress.delivered_ms >= QUIET_MS", "True", "tests/unit/ingest/test_catch_up.py"),
    Mutant("catching up is waited for no longer than its bound", "consumer/ingest/catch_up.py",
           "session_ms - self._began_ms < self._max_catch_up_ms", "True", SEQUENCER),
    Mutant("sessions shorter than catching up hold nothing forever", "consumer/ingest/sequencer.py",
           "session_ms - by_arrival[0].session_ms >= self._longest_ms", "False", SEQUENCER),
    Mutant("a full hold lets the lowest go", "consumer/ingest/sequencer.py",
           "        if len(self._held) >= self._max_held:\n            return True\n", "", SEQUENCER),
    Mutant("a poll asks for an earlier answer only", "consumer/salesforce/cometd_session.py",
           "if requested_ms is not None and requested_ms >= self._hold_ms:", "if False:", "tests/faults/test_sessions.py"),
    Mutant("(b) a backlog flows", "consumer/ingest/sequencer.py",
           "self._arrived - lowest.ordinal >= self._window and self._others_are_past(lowest)", "False", SEQUENCER),
    Mutant("(b) only when every other channel has delivered more", "consumer/ingest/sequencer.py",
           " >= self._window and self._others_are_past(lowest)", " >= self._window", SEQUENCER),
    Mutant("(c) nothing is held for ever", "consumer/ingest/sequencer.py",
           "if session_ms - max(lowest.session_ms, waits_from[1]) >= self._max_hold_ms:", "if False:", SEQUENCER),
    Mutant("(d) one channel: complete up to it", "consumer/ingest/sequencer.py",
           "return self._is_complete(lowest.key) or (greatest is not None and greatest > lowest.key)",
           "return True", SEQUENCER),
    Mutant("(e) several channels: every other one has delivered more", "consumer/ingest/sequencer.py",
           "        if len(self._greatest) > 1:\n", "        if False:\n", SEQUENCER),
    Mutant("a full buffer releases nothing early", "consumer/ingest/sequencer.py",
           "        if self._strict:\n            return False\n", "        if len(self._held) > 49:\n            return True\n        if self._strict:\n            return False\n", PIPELINE),
    Mutant("what is held at a stop is not flushed", "consumer/ingest/pipeline.py",
           "        while self._intake.pending_commit:\n",
           "        self._intake.pending_commit.parts += self._intake._sequencer.pop(now_ms=10**15, answered_ms=10**15)\n        while self._intake.pending_commit:\n", PIPELINE),
    # ---- late, epochs
    Mutant("late is decided by the greatest key of the run", "consumer/ingest/interpret.py",
           "        and key < ordering_state.highest_key\n", "        and False\n", PIPELINE),
    Mutant("the greatest key of a run is stored with it", "consumer/domain/record_state.py", '"h": self.highest_key,', '"h": None,', PIPELINE),
    Mutant("a late change is interpreted with before=None", "consumer/domain/lifecycle.py",
           "known = before is not None and before.exists and not late", "known = before is not None and before.exists", LIFECYCLE),
    Mutant("a late change writes only what nothing newer wrote", "consumer/domain/record_state.py",
           "            if version is None or version <= key:\n", "            if True:\n", STATE),
    Mutant("an epoch needs another instance name", "consumer/ingest/epochs.py",
           "            or instance is None\n            or last.instance in (None, instance)\n", "", PIPELINE),
    Mutant("an epoch needs a far fall", "consumer/ingest/epochs.py", "greatest_commit_number - commit_number < RESTART_DISTANCE\n            or instance is None", "instance is None", PIPELINE),
    Mutant("an org that moves while nobody looks", "consumer/ingest/tenure.py",
           "        epochs.restore_greatest(state.commit_number)\n", "        pass\n", PIPELINE),
    Mutant("a change belongs to the epoch of its commit second", "consumer/ingest/epochs.py",
           " or epoch.start_ms <= commit_ms:", " or True:", PIPELINE),
    Mutant("a change belongs to the epoch of its number", "consumer/ingest/epochs.py",
           "epoch.fell_from - commit_number >= RESTART_DISTANCE or ", "", PIPELINE),
    # ---- whole services, side by side: what the simulation alone must find
    Mutant("simulated: a commit needs the token", TRANSACTIONS, "lease[0] != commit.token or ", "", SIMULATION),
    Mutant("simulated: a place needs the token", TRANSACTIONS, "    if lease is None or lease[0] != tenure.token:\n        raise CommitRefused(cursor.revision",
           "    if False:\n        raise CommitRefused(cursor.revision", SIMULATION),
    Mutant("simulated: a lease that is held is not won", SQLITE_LEASE, "and row[1] > at_ms and row[2] != lock_token", "and False", SIMULATION),
    Mutant("simulated: a free lock alone says nothing", SQLITE_LEASE, "and row[2] != lock_token:", "and lock_token is None:", SIMULATION),
    Mutant("simulated: a commit whose reply was lost is sent again", "consumer/ingest/commits.py",
           "                    await asyncio.sleep(_BACKOFF.delay_ms(failures) / 1000)\n", "                    return\n", SIMULATION),
    Mutant("simulated: a commit that is sent again is applied once", TRANSACTIONS, "    if lease[1] == commit.number:\n        return False\n", "", SIMULATION),
    Mutant("simulated: a checkpoint is of this commit, not of the next", "consumer/ingest/pending_commit.py",
           "        for part in batch.parts:\n", "        for part in (*batch.parts, *self.parts):\n", SIMULATION),
    Mutant("simulated: a duplicate is recognised by identity", "consumer/ingest/interpret.py", "change.identity in record.seen", "False", SIMULATION),
    Mutant("simulated: a change is held back", "consumer/ingest/sequencer.py", "if answered_ms - max(lowest.answered_ms, waits_from[0]) >= self._lateness_ms:", "if True:", SIMULATION),
    Mutant("simulated: what was incomplete at a session end is no checkpoint", "consumer/ingest/positions.py",
           "            self._entries[-1].position = None\n            self._entries[-1].complete = True\n",
           "            self._entries[-1].complete = True\n", SIMULATION),
    Mutant("simulated: a place waits for what is under way", "consumer/delivery/cursor.py", "self._offset = tracked[0] - 1 if tracked else self._highest_announced",
           "self._offset = self._highest_announced", SIMULATION),
    Mutant("simulated: blocked runs are fetched again after a restart", "consumer/delivery/subscription.py", "        await self._main_reader.recover()\n", "", SIMULATION),
    Mutant("simulated: what failed goes before what follows in its run", "consumer/delivery/lanes.py",
           "lane.waiting.extendleft(sorted(lane.failed, key=_by_sequence, reverse=True))", "lane.waiting.extend(lane.failed)", SIMULATION),
    Mutant("simulated: dead letters are written with the place", TRANSACTIONS, "    _put_dead_letters(connection, dead_letters)\n    connection", "    connection", SIMULATION),
    # ---- places
    Mutant("what is settled around what was settled is one range", "consumer/delivery/cursor.py", "if not merged or span[0] > merged[-1][1]:", "if True:",
           "tests/unit/delivery/test_cursor.py"),
    Mutant("a wait that comes with the journal ends", "consumer/delivery/handler_queue.py",
           "        if self.lanes.blocked_runs:\n            self.blocked.set()", "        if False:\n            self.blocked.set()",
           "tests/integration/delivery/test_failures.py"),
    Mutant("a blocked run holds the offset back no longer", "consumer/delivery/journal_reader.py",
           "        self.cursor_saver.blocked_runs(row, offsets)\n", "        pass\n", "tests/integration/delivery/test_failures.py"),
    Mutant("unsettled events of a blocked run are in no settled range", "consumer/delivery/cursor.py",
           " and offset not in self._blocked_entries:", ":", "tests/unit/delivery/test_cursor.py"),
    Mutant("what a blocked run has done is remembered", "consumer/delivery/attempts.py",
           "                tuple(acknowledged),\n", "                (),\n", "tests/integration/delivery/test_failures.py"),
    Mutant("blocked runs are fetched again after a restart", "consumer/delivery/subscription.py",
           "        await self._main_reader.recover()\n", "", "tests/integration/delivery/test_stop_and_crash.py"),
    Mutant("attempts go on counting after a restart", "consumer/delivery/journal_reader.py",
           "Delivery(entry, self, row.attempts, due_ms, error=row.error)", "Delivery(entry, self)", "tests/integration/delivery/test_failures.py"),
    Mutant("blocked runs are bounded", "consumer/delivery/cursor.py", "if len(self._blocked_runs) >= self._max_blocked_runs:", "if False:",
           "tests/integration/delivery/test_failures.py"),
    Mutant("blocked runs are written with the place (Redis)", PLACE_LUA, "redis.call('HSET', KEYS[6], ARGV[at + 1], ARGV[at + 2])", "", STORES),
    # ---- what handlers raise, and do to their task
    Mutant("what a handler raises becomes an outcome, whatever it is", "consumer/delivery/isolation.py",
           "        except BaseException as raised:", "        except (Exception, asyncio.CancelledError) as raised:", ISOLATION),
    Mutant("only the service ends a worker", "consumer/delivery/isolation.py", "                if not self.task.cancelling():\n                    raise\n",
           "                raise\n", ISOLATION),
    Mutant("a call that cancels its own task has failed", "consumer/delivery/isolation.py", "        if self.task.cancelling():\n            await",
           "        if False:\n            await", ISOLATION),
    Mutant("a cancellation that was requested last does not reach the next call", "consumer/delivery/isolation.py",
           "                await asyncio.sleep(0)  # one that", "                pass  # one that", ISOLATION),
    Mutant("a stop does not wait for a call that ignores it", "consumer/delivery/worker_pool.py",
           "await asyncio.wait(set(self._workers), timeout=CANCEL_MS / 1000)", "await asyncio.wait(set(self._workers))", ISOLATION),
    Mutant("opening that ends its task is tried again", "consumer/delivery/isolation.py",
           "        await asyncio.shield(ended)\n", "        await task\n", ISOLATION),
    Mutant("the exit of a handler's own task does not end the loop", "consumer/process.py", "                if not self.ignores_exits:", "                if True:",
           "tests/unit/test_process.py"),
    Mutant("an error that raises when it is looked at has a line", "consumer/safe_text.py", "    except BaseException as error:", "    except AttributeError as error:",
           "tests/unit/delivery/test_retry.py"),
    Mutant("an error that nobody can encode has a line", "consumer/safe_text.py", '    return text.encode("utf-8", "backslashreplace").decode()', "    return text",
           "tests/unit/delivery/test_retry.py"),
    Mutant("whoever logs gets no exception", "consumer/telemetry/logging.py", "        except BaseException as error:  # noqa: BLE001 - a foreign object",
           "        except AttributeError as error:  # noqa: BLE001 - a foreign object", "tests/unit/telemetry/test_logging.py"),
    Mutant("a handler that cannot open is not running", "consumer/delivery/handler_state.py", "        self._apply(Trigger.OPEN_FAILED)\n", "",
           "tests/unit/delivery/test_handler_not_running.py"),
    Mutant("a handler that is open at last leaves the service ready", "consumer/delivery/handler_state.py", "        if had_failed:\n", "        if False:\n",
           "tests/unit/delivery/test_handler_not_running.py"),
    Mutant("a call that does not end stops its handler", "consumer/delivery/worker_pool.py", "            self._state.cancellation_ignored()\n", "            pass\n", ISOLATION),
    # ---- what handlers share
    Mutant("threads that look at an event see it whole", "consumer/domain/lifecycle_events.py", "            self._is_typed = True\n",
           "            self._is_typed = True\n            self._untyped = None\n", "tests/unit/domain/test_lifecycle_events.py"),
    Mutant("threads that look at an event get the same objects", "consumer/domain/lifecycle_events.py",
           'return self.__dict__.setdefault(name, convert(self.__dict__["entity"], untyped[name]))',
           'return convert(self.__dict__["entity"], untyped[name])', "tests/unit/domain/test_lifecycle_events.py"),
    Mutant("each handler has an event of its own", "consumer/delivery/dispatcher.py", "return event.own_copy()", "return event", ISOLATION),
    Mutant("fields that nobody knows are no handler's to change", "consumer/domain/lifecycle_events.py", "        raw = deepcopy(raw)", "        pass",
           "tests/unit/domain/test_lifecycle_events.py"),
    Mutant("a session that a handler has closed is made again", "consumer/delivery/dispatcher.py", "if self._session is None or self._session.closed:",
           "if self._session is None:", ISOLATION),
    Mutant("an observer ends nothing", "consumer/delivery/dispatcher.py", "        except Exception:  # noqa: BLE001 - whatever it is, it is no reason", "        except AttributeError:  # noqa: BLE001 - whatever it is, it is no reason", ISOLATION),
    Mutant("an event that was not sent is not under way", "handlers/kafka.py", "        confirmation: Confirmation = self._loop.create_future()\n        try:",
           "        confirmation: Confirmation = self._loop.create_future()\n        self._in_flight[event.id] = confirmation\n        try:",
           "tests/unit/handlers/test_sink_faults.py"),
    Mutant("a producer whose polls end is replaced", "handlers/kafka.py", '            self._fatal = True\n            self._log.warning("kafka client',
           '            self._log.warning("kafka client', "tests/unit/handlers/test_sink_faults.py"),
    # ---- what is asked of handlers
    Mutant("the dead-letter limit stops a handler before one too many", "consumer/delivery/attempts.py",
           "case DeadLetter() if self._state.is_at_dead_letter_limit and", "case DeadLetter() if False and", REQUESTS),
    Mutant("dead letters of before a restart count", "consumer/delivery/control.py",
           "            pending_commands.dead_letters\n            - pending_commands.redrives\n            + sum(", "            sum(", REQUESTS),
    Mutant("a letter that fails again stays", "consumer/delivery/redrive.py", "            self._failed_again.append(dead_letter)\n",
           "            self._removed.append(delivery.entry.id)\n", REQUESTS),
    Mutant("a paused handler makes no attempts", "consumer/delivery/handler_state.py",
           "            self._apply(Trigger.PAUSE if paused else Trigger.RESUME)\n", "", REQUESTS),
    Mutant("a handler that is paused and halted waits for the end of both", "consumer/delivery/handler_state.py",
           "begins_with=Trigger.PAUSE, ends_with=Trigger.RESUME", "begins_with=Trigger.PAUSE, ends_with=Trigger.BELOW_LIMIT", REQUESTS),
    Mutant("a handler that is disabled and halted waits for the end of both", "consumer/delivery/handler_state.py",
           "begins_with=Trigger.LIMIT_REACHED, ends_with=Trigger.BELOW_LIMIT", "begins_with=Trigger.LIMIT_REACHED, ends_with=Trigger.RESUME", REQUESTS),
    Mutant("a replay ends only when everything is settled", "consumer/delivery/replays.py",
           "        await reader.cursor_saver.wait_until_drained()\n", "", REQUESTS),
    Mutant("a call is either replayed or not", "consumer/delivery/lanes.py",
           "if lane.waiting[0].source.replayed is not replayed:", "if False:", "tests/unit/delivery/test_lanes.py"),
    Mutant("a replay ends at its last offset", "consumer/delivery/journal_reader.py",
           "[entry for entry in entries if entry.offset <= self._through]", "entries", REQUESTS),
    # ---- retention
    Mutant("retention takes nothing from under a handler", "consumer/delivery/journal_retention.py",
           "allowed = min(through, floor.offset - 1)", "allowed = through", RETENTION),
    Mutant("retention takes nothing from under a blocked run", "consumer/delivery/journal_retention.py",
           "blocked_runs=await self._store.blocked_runs(name)", "blocked_runs=[]", RETENTION),
    Mutant("retention takes nothing from under a replay", "consumer/delivery/journal_retention.py",
           'if command.kind == "replay"', "if False", RETENTION),
    Mutant("only the holder of the lease trims (SQLite)", SQLITE_JOURNAL, "if lease is None or lease[0] != tenure.token:", "if False:", STORES),
    Mutant("only the holder of the lease trims (Redis)", "consumer/stores/redis/trim.lua",
           "if lease[1] ~= ARGV[1] then return {0, lease[2] or ''} end", "", STORES),
    # ---- plugin API
    Mutant("once is recorded after the block has succeeded", "consumer/plugin.py",
           "        yield first\n        if first and not self.dry_run:\n            await memory.mark_done(self.handler, key)\n",
           "        if first and not self.dry_run:\n            await memory.mark_done(self.handler, key)\n        yield first\n", PLUGIN),
    Mutant("a predicate narrows what a handler gets", "consumer/delivery/filters.py", "and not self._predicate(event)", "and False", PLUGIN),
    # ---- timers
    Mutant("a timer fires when everything up to then has been delivered", "consumer/ingest/timer_watermark.py",
           "        if empty:\n", "        if True:\n", "tests/integration/ingest/test_timers.py"),
    Mutant("a timer fires when everything up to then is committed", "consumer/ingest/timer_watermark.py",
           "min((watermark_ms, *(commit_ms - 1 for commit_ms in uncommitted)))", "watermark_ms",
           "tests/integration/ingest/test_timers.py"),
    Mutant("a timer fires once", "consumer/domain/timers.py", "return {} if due_ms in state.fired.get(name, ()) else {name: due_ms}",
           "return {name: due_ms}", "tests/integration/ingest/test_timers.py"),
    # ---- meaning
    Mutant("only changedFields write state", "consumer/domain/record_state.py",
           "            after._write(change.body, header.changed, key)", "            after._write(change.body, tuple(change.body), key)", LIFECYCLE),
    Mutant("a created record is new until it has told a state", "consumer/domain/record_state.py", "after._announce(NEW, key)", "pass", LIFECYCLE),
    Mutant("a legal transition misses nothing", "consumer/domain/state_machines.py", "return legal_types, False", "return legal_types, True",
           "tests/integration/ingest/test_transitions.py"),
    Mutant("a merged gap is one event", "consumer/ingest/interpret.py",
           "if change.record_id == change.header.record_ids[0]:", "if True:", RECORDS),
    Mutant("a run that was looked up is listed with its target", REPOSITORY,
           "self._run_lookups[run_id] = fields", "pass", RECORDS),
    Mutant("ids of 15 characters are those of 18", "consumer/domain/change_events.py", "elif rule.is_id and len(value) == 15:", "elif False:", RECORDS),
    Mutant("a due time that comes back is told once", "consumer/domain/record_state.py", "(*self.fired.get(name, ()), due_ms)[-MAX_FIRED_TIMES:]",
           "(due_ms,)", TIMERS),
    Mutant("what was due is told before the change that came later", "consumer/ingest/interpret.py",
           "        if due_ms < commit_ms:\n", "        if False:\n", TIMERS),
    Mutant("a late change raises no alarm", "consumer/ingest/interpret.py",
           "if timers_before and record is not None and not late:", "if timers_before and record is not None:", TIMERS),
    Mutant("enrichment never fills OwnerId", "consumer/domain/objects.py", "IMMUTABLE_FIELDS = (", 'IMMUTABLE_FIELDS = ("OwnerId", ', LIFECYCLE),
    Mutant("CREATE writes absent fields as null at its version", "consumer/domain/record_state.py",
           "if pair[1] < key and name not in body]", "if False]", STATE),
    Mutant("DELETE leaves a versioned tombstone", "consumer/domain/record_state.py",
           "            if self.deleted is None or self.deleted[1] < key:\n                after.deleted", "            if True:\n                after.deleted", STATE),
)  # fmt: skip


def copy_to(folder: Path) -> Path:
    """Everything that tests look at, to be spoilt."""
    copy = folder / "copy"
    copy.mkdir()
    for name in ("consumer", "handlers", "tests", "deploy"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, copy)
    return copy


def killed(mutant: Mutant, copy: Path, tests: Sequence[str]) -> str:
    """``red`` when the tests fail without the rule; otherwise what is wrong."""
    path = copy / mutant.file
    original = path.read_text()
    if original.count(mutant.old) < 1:
        return "its place was not found"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests]
    try:
        path.write_text(original.replace(mutant.old, mutant.new, 1))
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=600, check=False)
    finally:
        path.write_text(original)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    return "red" if done.returncode == 1 else f"SURVIVED ({last.strip('= ')})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rules that contain this text")
    wanted = parser.parse_args().only
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_to(Path(folder))
        for mutant in MUTANTS:
            if wanted in mutant.rule:
                verdict = killed(mutant, copy, mutant.tests.split())
                survivors += verdict != "red"
                print(f"{verdict:<8} {mutant.rule}  [{mutant.tests}]", flush=True)
    print(
        f"{survivors} of {len(MUTANTS)} rules can be taken out unnoticed"
        if survivors
        else f"all {len(MUTANTS)} rules are guarded"
    )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
