"""Everything retained is read again only when the org's delivery allocation bears it."""

import pytest

from consumer.clock import iso
from consumer.domain.bus_retention import BUS_RETENTION_MS
from consumer.errors import CadenceError, Remedy, SessionFault
from consumer.ingest.quota_guard import EVENTS_PER_RECORD, QuotaGuard
from tests.support.builders.changes import (
    COMMIT_MS,
    RUN,
    RUN_CHANNEL,
    STEP,
    STEP_CHANNEL,
)
from tests.support.rigs.ingest import tenure


class Org:
    """So much is left, and so many records of each object were changed."""

    def __init__(self, left=1_000, changed=0):
        self.left, self.changed, self.asked = left, changed, []
        self.down = False

    async def limits(self):
        if self.down:
            raise CadenceError("REST does not answer")
        return {} if self.left is None else {"DailyDeliveredPlatformEvents": (50_000, self.left)}

    async def count(self, soql):
        self.asked.append(soql)
        return self.changed


async def admit(org, **resume):
    options = {RUN_CHANNEL: "17", STEP_CHANNEL: "18"} | {f"/data/{name}": one for name, one in resume.items()}
    await QuotaGuard(org).admit(options, COMMIT_MS)


async def test_resuming_by_position_or_from_the_tip_asks_nobody():
    org = Org(left=0, changed=1_000)
    await admit(org)
    await admit(org, ActionCadenceTrackerChangeEvent="-1")
    assert org.asked == []


async def test_what_was_changed_within_the_retention_is_counted_for_each_object_that_is_read_whole():
    org = Org()
    await admit(org, ActionCadenceTrackerChangeEvent="-2")
    since = iso(COMMIT_MS - BUS_RETENTION_MS)
    assert org.asked == [f"SELECT COUNT() FROM {RUN} WHERE SystemModstamp >= {since}"]
    org.asked.clear()
    await QuotaGuard(org).admit({"/data/Cadences__chn": "-2"}, COMMIT_MS)
    assert [RUN in one or STEP in one for one in org.asked] == [True, True]


async def test_what_would_use_the_rest_up_is_refused_and_says_what_to_do():
    bearable = Org(left=100 * EVENTS_PER_RECORD, changed=100)
    await admit(bearable, ActionCadenceTrackerChangeEvent="-2")
    bearable.changed += 1
    with pytest.raises(SessionFault) as refused:
        await admit(bearable, ActionCadenceTrackerChangeEvent="-2")
    assert refused.value.reason.remedy is Remedy.WAIT_QUOTA
    assert refused.value.reason.code == "allocation_guard"
    assert "replay.spend_allocation" in refused.value.reason.detail


async def test_an_org_that_does_not_tell_its_allocation_is_read():
    await admit(Org(left=None, changed=1_000_000), ActionCadenceTrackerChangeEvent="-2")


async def test_a_refusal_is_a_reason_not_to_open_and_an_answer_that_cannot_be_had_is_not(tmp_path):
    org = Org(left=10, changed=1_000)
    async with tenure(tmp_path / "a.db", record_source=org, start="earliest") as rig:
        with pytest.raises(SessionFault):
            await rig.ingest.plan.resume()
        org.down = True
        assert await rig.ingest.plan.resume() == {RUN_CHANNEL: "-2", STEP_CHANNEL: "-2"}
        assert rig.witness.unknown == ["REST does not answer"]
    org.down = False
    async with tenure(tmp_path / "b.db", record_source=org, start="earliest", spend_allocation=True) as rig:
        assert await rig.ingest.plan.resume() == {RUN_CHANNEL: "-2", STEP_CHANNEL: "-2"}
