"""What came of asking: pages of rows are compared with what is known, proposals to forget are decided; both end in a commit.

The reconciler and the expirer work beside the stream and put what they found into the inbox. Here, between two commits of the stream and
by the only one who writes states, it is decided what that means by now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from consumer.clock import Clock
from consumer.errors import StoreUnavailable
from consumer.ingest import causes
from consumer.ingest.expirer import Expirer, Proposal
from consumer.ingest.intake import Intake
from consumer.ingest.interpreter import Interpreter
from consumer.ingest.observer import IngestEvents
from consumer.ingest.options import IngestOptions
from consumer.ingest.pages import Page
from consumer.ingest.reconcile import Reconciler
from consumer.ingest.writer import Writer
from consumer.lifecycle import Org
from consumer.ports import Fetched
from consumer.tasks import Task

__all__ = ["Mending"]


class Mending:
    """Takes what was fetched, in its order.

    Args:
        intake: what is held and what waits, which a page must not overtake.
        interpreter: says what rows mean.
        writer: commits.
        reconciler: told how far each task has come; None where nothing is fetched.
        expirer: told what became of its proposals.
        org: for ids and links.
        options: plain arguments.
        clock: for patience.
        observer: told what was mended.
    """

    def __init__(
        self,
        intake: Intake,
        interpreter: Interpreter,
        writer: Writer,
        reconciler: Reconciler | None,
        expirer: Expirer,
        org: Callable[[], Org],
        options: IngestOptions,
        clock: Clock,
        observer: IngestEvents,
    ) -> None:
        self._intake = intake
        self._interpreter = interpreter
        self._writer = writer
        self._reconciler = reconciler
        self._expirer = expirer
        self._org = org
        self._options = options
        self._clock = clock
        self._observer = observer
        self._waiting: deque[Fetched] = deque()

    def take(self, fetched: Fetched) -> None:
        """A page or a proposal has come."""
        self._waiting.append(fetched)

    async def turn(self) -> None:
        """Commit what has come, each once nothing is held back any more that it is about; what cannot be yet is tried next time."""
        while self._waiting:
            fetched = self._waiting[0]
            waited_ms = self._clock.monotonic_ms() - fetched.received_ms
            if waited_ms < self._options.max_hold_ms and self._concerns_held(fetched.page):
                return
            await self._writer.landed()
            try:
                if isinstance(fetched.page, Proposal):
                    await self._forget(fetched.page)
                else:
                    await self._compare(fetched.page)
            except StoreUnavailable as error:
                self._writer.failing(error.why)
                return
            self._waiting.popleft()

    def _concerns_held(self, page: Page | Proposal) -> bool:
        """Whether changes of the page's records are held back: told after it, they would come late."""
        if isinstance(page, Proposal) or not self._intake.held:
            return False
        records = {row.record_id for row in page.rows}
        return any(part.change.record_id in records for part in self._intake.held_parts())

    # ------------------------------------------------------------ rows

    async def _compare(self, page: Page) -> None:
        began_ms = self._clock.monotonic_ms()
        task = page.task
        batch = await self._interpreter.compare(
            page.rows,
            "gap" if task.reason == "gap" else "repair",
            self._org(),
            unseen=causes.unseen_by(task, self._options),
            server_ms=page.server_ms,
        )
        commit = self._writer.draft(batch)
        task = task.counted(
            fetched=len(page.rows),
            changed=batch.compared,
            deleted=batch.deleted,
            events=len(batch.journal),
        )
        known: dict[str, Task | None] = {one.id: one for one in (task, *page.begins)}
        if page.is_last:
            # A sweep that found nothing says so in the log alone.
            sweep_ms = self._options.sweep_ms
            known[task.id] = task.again(sweep_ms) if task.reason == "sweep" and sweep_ms is not None else None
            report = causes.report_of(task, batch.org.id, page.server_ms)
            if report is not None:
                commit.journal.append(report)
        commit.tasks = {one: None if kept is None else kept.encode() for one, kept in known.items()}
        await self._writer.apply(commit, batch, changes=0, began_ms=began_ms)
        assert self._reconciler is not None
        self._reconciler.know(known)
        for record_id, why in page.unread:
            self._observer.row_unread(task.entity, record_id, why)
        self._observer.reconciled(task.reason, len(page.rows), batch.compared)
        if page.is_last:
            self._observer.task_done(task.id, task.report())

    # ------------------------------------------------------------ what may be forgotten

    async def _forget(self, proposal: Proposal) -> None:
        """Remove what may go by what is known now: nobody else writes states, so nothing changes meanwhile."""
        if self._is_mending():
            self._expirer.decided(taken=False)
            return
        began_ms = self._clock.monotonic_ms()
        waiting = {
            one
            for part in self._intake.uncommitted()
            for one in (part.change.record_id, part.change.body.get("ActionCadenceTrackerId"))
            if isinstance(one, str)
        }
        batch = await self._interpreter.expire(proposal.keys, proposal.horizon, waiting, self._org())
        if batch.states:
            await self._writer.apply(self._writer.draft(batch), batch, changes=0, began_ms=began_ms)
            self._observer.states_expired(len(batch.states))
        self._expirer.decided(taken=True)

    def _is_mending(self) -> bool:
        """Whether something that the stream lost is still to be read: what is known may be about to be found wrong."""
        known = self._reconciler.tasks if self._reconciler is not None else {}
        return any(not task.is_waiting for task in (*known.values(), *self._intake.ready.tasks.values()))
