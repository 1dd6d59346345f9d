"""Hints for operators on errors of a store's server or file.

A message begins with the driver's own text, which can be searched for; the hint for the person on call follows.
"""

from __future__ import annotations

from typing import Final

__all__ = ["with_hint"]

_HINTS: Final = (
    # SQLite
    ("disk is full", "free space on its disk, or lower journal.max_bytes; the service continues by itself"),
    ("disk I/O error", "its disk fails to write: check the machine's log"),
    ("database is locked", "another process has locked it: end the backup or the shell that holds the lock"),
    ("malformed", "the file is damaged: stop the service, restore a copy or move the file away, start again"),
    ("not a database", "the file is of another kind: name another in store.url, or move it away"),
    ("readonly database", "it is not writable: give the service's user write permission, or mount it writable"),
    ("unable to open database", "its folder is missing or not accessible: create it or grant access, or name another in store.url"),
    # Redis and Valkey
    ("command not allowed when used memory", "it is full: raise maxmemory, or lower journal.max_bytes; the service continues by itself"),
    ("read only replica", "it is a replica, which accepts no commits: name the primary in store.url, or promote it"),
    ("is configured to save RDB", "it cannot save to its disk and therefore refuses writes: check the server's disk and log"),
    ("NOAUTH", "it requires a password: add it to store.url"),
    ("HELLO must be called with the client already authenticated", "it requires a password: add it to store.url"),
    ("Authentication required", "it requires a password: add it to store.url"),
    ("WRONGPASS", "it rejects this user or password: correct store.url"),
    ("invalid username-password", "it rejects this user or password: correct store.url"),
    ("has no permissions", "its access list forbids that: allow this user to read, write and run scripts under store.prefix"),
    ("loading the dataset", "it has just started and is loading its files; the service continues by itself"),
    ("MISCONF", "it cannot write its append-only file: check the server's disk and log; the service continues by itself"),
    ("CLUSTERDOWN", "its cluster has no majority: check the cluster"),
    ("Connect call failed", "no server listens there: start it, or correct store.url"),
    ("Connection refused", "no server listens there: start it, or correct store.url"),
    ("Name or service not known", "no such host: correct store.url"),
)  # fmt: skip


def with_hint(error: BaseException) -> str:
    """Format an error in one line: its type, its text, and a hint where one is known."""
    text = " ".join(str(error).split())
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    for pattern, hint in _HINTS:
        if pattern.lower() in text.lower():
            return f"{message} ({hint})"
    return message
