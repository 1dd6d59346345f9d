"""A store that cannot is told in the driver's words, with what to do about it where that is known."""

import sqlite3

import pytest
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from consumer.stores.error_hints import with_hint


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (sqlite3.OperationalError("database or disk is full"), "free space"),
        (sqlite3.OperationalError("database is locked"), "another process"),
        (sqlite3.DatabaseError("database disk image is malformed"), "restore a copy"),
        (sqlite3.DatabaseError("file is not a database"), "store.url"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "raise maxmemory"),
        (ReadOnlyError("You can't write against a read only replica."), "name the primary"),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), "disk"),
        (ConnectionRefusedError(111, "Connection refused"), "no server listens"),
    ],
)
def test_known_trouble_comes_with_advice(error, advice):
    told = with_hint(error)
    assert told.startswith(type(error).__name__)
    assert advice in told


def test_unknown_trouble_is_told_as_it_came_in_one_line():
    assert with_hint(ResponseError("ERR something\nodd")) == "ResponseError: ERR something odd"
    assert with_hint(TimeoutError()) == "TimeoutError"
