"""Commits for the contract suites."""

from consumer.ports.commit import Commit, JournalRecord

ORG = "00DWP0000001234MAA"
LEASE_MS = 60_000


def commit_of(tenure, number, *, events=0, states=None, channels=None, dead_letters=(), org=ORG):
    return Commit(
        token=tenure.token,
        number=number,
        org_id=org,
        states=states or {},
        journal=[
            JournalRecord(f"{number}.{index}", "run.updated", f"run{index % 2}", b'{"v":1}')
            for index in range(events)
        ],
        channels=channels or {},
        dead_letters=list(dead_letters),
    )
