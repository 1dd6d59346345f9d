"""What `checkpoint import` takes, and what it says of everything else."""

import orjson
import pytest

from consumer.cli.checkpoint_positions import read_export
from consumer.ports.commit import ChannelState
from tests.unit.cli.conftest import CHANNEL, ORG

EXPORT = {"format": 1, "org_id": ORG, "channels": {CHANNEL: {"birth_ms": 7, "position": "42"}}}


def test_an_export_of_this_or_an_older_release_is_read():
    assert read_export(orjson.dumps(EXPORT)) == (ORG, {CHANNEL: ChannelState(7, "42")})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format": 2}, "is of format 2; this release reads format 1"),
        ({"org_id": 7}, "org_id: Input should be a valid string"),
        ({"channels": []}, "channels: Input should be"),
        (
            {"channels": {CHANNEL: {"birth_ms": 7, "position": 42}}},
            "position: Input should be a valid string",
        ),
        ({"channels": {CHANNEL: {"birth_ms": "7"}}}, "birth_ms: Input should be a valid integer"),
        ({"channels": {CHANNEL: {"birth_ms": 7, "positon": "42"}}}, "positon: Unexpected keyword argument"),
        ({"channels": {CHANNEL: {"position": "42"}}}, "birth_ms: "),
    ],
)
def test_a_file_that_somebody_edited_is_refused_with_what_is_wrong_in_it(changed, said):
    with pytest.raises(ValueError, match="is ") as caught:
        read_export(orjson.dumps({**EXPORT, **changed}))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[", b"[]", b"7", b"\xff", b"[" * 2_000])
def test_a_file_of_something_else_is_refused(data):
    with pytest.raises(ValueError, match="is not a file of `checkpoint export`"):
        read_export(data)
