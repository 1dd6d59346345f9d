"""The lock beside a SQLite store: one has it, it says whose it was, and the kernel gives it back."""

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from consumer.stores.sqlite.file_lock import FileLock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cadence.db.lock"


@pytest.fixture
def locks(path):
    made = []

    def make():
        made.append(FileLock(path))
        return made[-1]

    yield make
    for lock in made:
        lock.release()


def test_one_has_the_lock_and_the_next_reads_who_had_it(locks):
    one, two = locks(), locks()
    assert one.acquire() == ""
    one.write_token("token of one")
    assert one.acquire() == "token of one", "it keeps it"
    assert two.acquire() is None
    one.release()
    assert two.acquire() == "token of one"
    assert one.acquire() is None


def test_a_shorter_token_leaves_nothing_of_a_longer_one(locks):
    lock = locks()
    lock.acquire()
    lock.write_token("a long token")
    lock.write_token("short")
    assert lock.acquire() == "short"


def test_without_the_lock_nothing_is_said(locks):
    one, two = locks(), locks()
    one.acquire()
    one.write_token("one")
    two.write_token("two")
    two.release()
    assert one.acquire() == "one"


def test_whoever_may_read_the_store_may_read_the_lock_and_nobody_runs_it(locks, path):
    before = os.umask(0)
    try:
        locks().acquire()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_what_is_no_token_is_the_token_of_nobody(locks, path):
    path.write_bytes(b"\xff\xfe")
    assert locks().acquire() == "\N{REPLACEMENT CHARACTER}" * 2


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_neither_a_lock_of_another_nor_a_file_system_without_locks_costs_an_open_file(locks, monkeypatch):
    one, two = locks(), locks()
    one.acquire()
    before = open_files()
    for _ in range(3):
        assert two.acquire() is None
    one.release()
    assert open_files() == before - 1

    def refuse(fd, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="no locks available"):
        two.acquire()
    assert open_files() == before - 1
