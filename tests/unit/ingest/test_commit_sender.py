"""Numbers, lost replies and renewals, against a store that answers as it is told."""

import asyncio

import pytest

from consumer.clock import SystemClock
from consumer.errors import CommitRefused, StoreUnavailable
from consumer.ingest.commit_sender import CommitSender
from consumer.ports.lease import Tenure
from consumer.ports.observers.ingest_events import CommitFailed
from tests.support.rigs.observing import Recorder

pytestmark = pytest.mark.looptime


class Answers:
    """Plays ``script``: an exception to raise, or whether the commit was applied now."""

    def __init__(self, *script):
        self.script = list(script)
        self.commits = []
        self.renewals = []

    async def commit(self, commit):
        self.commits.append((commit.number, id(commit)))
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def renew(self, tenure, number, lease_ms):
        self.renewals.append((tenure, number, lease_ms))


def unavailable():
    return StoreUnavailable("redis://x", "timed out")


def commit_sender(store, recorder=None):
    return CommitSender(store, store, Tenure("token", "me"), SystemClock(), recorder or Recorder())


async def test_commits_are_numbered_from_one():
    store = Answers(True, True)
    sends = commit_sender(store)
    await sends.send(sends.draft("00D"))
    await sends.send(sends.draft("00D"))
    assert [number for number, _ in store.commits] == [1, 2]
    assert sends.number == 2


async def test_a_commit_whose_reply_was_lost_is_sent_again_unchanged_until_the_store_has_answered():
    recorder = Recorder()
    store = Answers(unavailable(), unavailable(), unavailable(), False, True)
    sends = commit_sender(store, recorder)
    commit = sends.draft("00D")
    await sends.send(commit)
    assert store.commits == [(1, id(commit))] * 4
    failures = recorder.of(CommitFailed)
    assert [failure.number for failure in failures] == [1, 1, 1]
    assert failures[-1].since_ms > failures[0].since_ms, "for how long it has been failing"
    await sends.send(sends.draft("00D"))
    assert store.commits[-1][0] == 2


async def test_a_refusal_ends_it_and_costs_no_number():
    store = Answers(CommitRefused(1, "another"))
    sends = commit_sender(store)
    with pytest.raises(CommitRefused, match="another"):
        await sends.send(sends.draft("00D"))
    assert sends.number == 0


async def test_a_renewal_waits_for_the_commit_under_way_and_carries_its_number():
    store = Answers(unavailable(), unavailable(), True)
    sends = commit_sender(store)
    sending = asyncio.create_task(sends.send(sends.draft("00D")))
    await asyncio.sleep(0.01)
    renewing = asyncio.create_task(sends.renew(15_000))
    await asyncio.gather(sending, renewing)
    assert store.renewals == [(Tenure("token", "me"), 1, 15_000)]


async def test_a_draft_carries_the_token_and_the_org_and_no_number_yet():
    draft = commit_sender(Answers()).draft("00D")
    assert (draft.token, draft.org_id, draft.number) == ("token", "00D", 0)
    assert not any((draft.states, draft.journal, draft.channels, draft.timers, draft.reconcile_tasks))


async def test_the_pause_between_tries_doubles_up_to_two_seconds_and_each_failure_says_why_and_how_long():
    recorder = Recorder()
    sends = commit_sender(Answers(*[unavailable()] * 8, True), recorder)
    await asyncio.sleep(60)
    await sends.send(sends.draft("00D"))
    assert recorder.facts(CommitFailed) == [
        (1, "timed out", pytest.approx(since_ms, abs=5))
        for since_ms in (0, 50, 150, 350, 750, 1_550, 3_150, 5_150)
    ]
