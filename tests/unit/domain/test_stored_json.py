import pytest

from consumer.domain.stored_json import NewerFormat, decode_stored, load_object
from consumer.errors import StoreDamaged, StoreForeign


@pytest.mark.parametrize("data", [b'{"v":1,"a":2}', b'{"v":2,"a":2}'])
def test_every_version_up_to_the_newest_is_read(data):
    assert load_object(data, newest=2)["a"] == 2


def test_a_version_that_is_not_named_is_the_default_where_there_is_one():
    assert load_object(b'{"a":2}', newest=2, default=2) == {"a": 2}
    with pytest.raises(ValueError, match="has no format version"):
        load_object(b'{"a":2}', newest=2)


def test_a_newer_version_says_both_numbers():
    with pytest.raises(NewerFormat, match="it has format 3; this version reads up to 2"):
        load_object(b'{"v":3}', newest=2)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[]", "not a JSON object"),
        (b"1", "not a JSON object"),
        (b"x", "unexpected character"),
        *(
            (b'{"v":%s}' % version, "has no format version")
            for version in (b"0", b"-1", b"true", b'"1"', b"1.0", b"null")
        ),
    ],
)
def test_what_is_no_object_of_a_version_is_refused_with_the_reason(data, why):
    with pytest.raises(ValueError, match=why) as caught:
        load_object(data, newest=2, default=2)
    assert not isinstance(caught.value, NewerFormat)


def test_stored_data_of_a_newer_release_is_foreign_and_names_what_to_run():
    with pytest.raises(
        StoreForeign, match=r"contains the kind, and x7 has format 9; .* run the newer release"
    ) as caught:
        decode_stored("kind", b'{"v":9,"id":"x7"}', lambda data: load_object(data, 1, identity="id"))
    assert not isinstance(caught.value, StoreDamaged)


def test_a_newer_version_of_nothing_that_is_named_is_damage():
    with pytest.raises(StoreDamaged):
        decode_stored("kind", b'{"v":9}', lambda data: load_object(data, 1, identity="id"))


@pytest.mark.parametrize("error", [KeyError, IndexError, TypeError, AttributeError, ValueError])
def test_stored_data_that_cannot_be_read_is_damaged(error):
    def read(data):
        raise error(data)

    with pytest.raises(StoreDamaged, match="instead of the kind"):
        decode_stored("kind", b"x", read)


def test_what_is_read_is_the_result():
    assert decode_stored("kind", b'{"v":1}', lambda data: load_object(data, 1)) == {"v": 1}
