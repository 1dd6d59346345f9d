import pytest

from consumer.sandbox.ids import KEY_PREFIXES, IdFactory, checksum, to_18


@pytest.mark.parametrize(
    "known",
    [
        "77CWP0000000hJV2AY",
        "0055f000005mc66AAA",
        "00106000029G61DAAS",
        "0015f00002J9YaUAAV",
        "005WP000000M6o1YAC",
    ],
)
def test_checksums_agree_with_ids_seen_in_real_orgs(known: str) -> None:
    assert checksum(known[:15]) == known[15:]


@pytest.mark.parametrize("entity", KEY_PREFIXES)
def test_ids_are_distinct_and_carry_prefix_and_checksum(entity: str) -> None:
    factory = IdFactory()
    ids = [factory.next(entity) for _ in range(200)]
    assert len(set(ids)) == 200
    assert all(each.startswith(KEY_PREFIXES[entity]) and to_18(each) == each for each in ids)


def test_a_15_character_id_becomes_its_18_character_form_and_a_wrong_checksum_is_refused() -> None:
    assert to_18("77CWP0000000hJV") == "77CWP0000000hJV2AY"
    assert to_18("77CWP0000000hJV2AZ") is None
    assert to_18("short") is None
    assert to_18("77CWP0000000hJ'") is None
