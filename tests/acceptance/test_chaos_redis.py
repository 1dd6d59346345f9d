"""A few rounds of each chaos scenario on a real Redis; ``python -m tests.rounds.chaos`` runs as many as wanted."""

from pathlib import Path

import pytest

from tests.rounds.chaos_scenarios import (
    deployed,
    killed_redis,
    killed_service,
    late_answers,
    restored_redis,
    stopped_holder,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


async def test_killing_the_service_loses_nothing_and_repeats_nothing_on_redis(tmp_path: Path) -> None:
    async with deployed(tmp_path, seed=1) as deployment:
        print(await killed_service(deployment, 20))


async def test_a_redis_that_is_killed_and_forgets_its_last_writes_is_noticed_and_made_whole(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path, seed=2) as deployment:
        print(await killed_redis(deployment, 5))


async def test_a_commit_whose_answer_is_late_or_lost_is_in_the_journal_once(tmp_path: Path) -> None:
    async with deployed(tmp_path, seed=3) as deployment:
        print(await late_answers(deployment, 7))


async def test_a_redis_restored_from_an_earlier_copy_is_noticed_and_made_whole(tmp_path: Path) -> None:
    async with deployed(tmp_path, seed=4) as deployment:
        print(await restored_redis(deployment, 3))


async def test_a_frozen_holder_is_refused_when_it_goes_on_and_only_one_is_ready(tmp_path: Path) -> None:
    async with deployed(tmp_path, seed=5) as deployment:
        print(await stopped_holder(deployment, 4))
