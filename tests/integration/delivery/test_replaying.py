"""A replay of many events, small: ``make replay`` is a million."""

from tests.rounds.replaying import replay


async def test_a_long_replay_delivers_every_event_once_with_flat_memory(tmp_path):
    outcome = await replay(tmp_path, 20_000)
    assert outcome.delivered == 20_000
    assert outcome.most_mb < outcome.early_mb + 20
