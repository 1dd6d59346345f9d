"""What the org still allows is asked for seldom, by one replica, and never by signing in."""

import asyncio
import re

import pytest
import structlog
from prometheus_client import generate_latest

from consumer.errors import AuthenticationFailed
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.org_limits import OrgLimitsWatch

LIMITS = {
    "DailyDeliveredPlatformEvents": (25_000, 1_200),
    "DailyApiRequests": (5_000, 4_937),
    "Other": (1, 1),
}


@pytest.fixture(autouse=True)
def fresh_logging():
    structlog.reset_defaults()


class Org:
    def __init__(self, **answers):
        self.answers = {"limits": LIMITS, "active_runs": 140_000, **answers}
        self.asked = []

    async def _answer(self, what):
        self.asked.append(what)
        answer = self.answers[what]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def limits(self):
        return await self._answer("limits")

    async def active_runs(self):
        return await self._answer("active_runs")


def shown(metrics):
    text = generate_latest(metrics.registry).decode()
    return dict(re.findall(r"^cadence_((?:org_limit|active)\S*) (\S+)$", text, re.MULTILINE))


async def test_what_rest_says_is_shown():
    metrics = Metrics()
    await OrgLimitsWatch(Org(), lambda: True, metrics).refresh()
    assert shown(metrics) == {
        'org_limit{limit="deliveries"}': "25000.0",
        'org_limit{limit="api_requests"}': "5000.0",
        'org_limit_remaining{limit="deliveries"}': "1200.0",
        'org_limit_remaining{limit="api_requests"}': "4937.0",
        "active_runs": "140000.0",
    }


async def test_an_edition_without_an_allocation_shows_nan_and_not_zero():
    metrics = Metrics()
    await OrgLimitsWatch(Org(limits={}), lambda: True, metrics).refresh()
    assert shown(metrics)['org_limit_remaining{limit="deliveries"}'] == "NaN"


async def test_one_request_every_five_minutes_and_another_every_half_hour():
    org = Org()
    watch = OrgLimitsWatch(org, lambda: True, Metrics())
    for _ in range(12):
        await watch.refresh()
    assert org.asked.count("limits") == 12
    assert org.asked.count("active_runs") == 2


async def test_an_org_that_does_not_answer_leaves_what_was_known():
    metrics, org = Metrics(), Org()
    watch = OrgLimitsWatch(org, lambda: True, metrics)
    await watch.refresh()
    org.answers["limits"] = AuthenticationFailed("unreachable", "x", permanent=False)
    await watch.refresh()
    assert shown(metrics)["active_runs"] == "140000.0"


@pytest.mark.looptime
async def test_it_asks_when_it_may_at_once_and_then_every_five_minutes():
    org, metrics = Org(), Metrics()
    allowed = False
    async with OrgLimitsWatch(org, lambda: allowed, metrics):
        await asyncio.sleep(600)
        assert org.asked == []
        allowed = True
        await asyncio.sleep(2)
        assert org.asked == ["limits", "active_runs"]
        await asyncio.sleep(3_000)
        assert org.asked.count("limits") == 11
        allowed = False
        await asyncio.sleep(2)
        metrics.end_tenure()
        allowed = True
        await asyncio.sleep(2)
        assert org.asked[-2:] == ["limits", "active_runs"], "a new tenure has nothing to show"
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_it_may_ask_while_this_replica_leads_and_gets_tokens():
    health = Health(["/data/ChangeEvents"], 0)
    assert not health.signed_in
    health.lease_held(1, "pod-1")
    assert not health.signed_in, "no token was ever got"
    health.session_opened(2, 1, ["/data/ChangeEvents"])
    assert health.signed_in
    health.session_ended(3, "daily_limit: x", None)
    assert health.signed_in, "a used-up allocation is what is to be seen"
    health.authentication_failing(4, "invalid_grant", "x")
    assert not health.signed_in, "signing in again and again locks accounts"
    health.session_opened(5, 2, ["/data/ChangeEvents"])
    health.lease_lost(6)
    assert not health.signed_in
