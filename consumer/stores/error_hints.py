"""What the servers and files behind a store say when they cannot, and what a person can do about it.

The driver's own words come first, for whoever looks them up; the advice follows, for whoever is on call.
"""

from __future__ import annotations

from typing import Final

__all__ = ["with_hint"]

_HINTS: Final = (
    # SQLite
    ("disk is full", "free space on its disk, or lower journal.max_bytes; it goes on by itself"),
    ("disk I/O error", "its disk does not write: look at the machine's log"),
    ("database is locked", "another process holds a lock on it: end the backup or the shell that does"),
    ("malformed", "the file is damaged: stop the service, put a copy back or move the file away, start again"),
    ("not a database", "another kind of file stands there: name another in store.url, or move it away"),
    ("readonly database", "it cannot be written to: give the service's user the right to, or mount it writable"),
    ("unable to open database", "its folder does not exist or cannot be entered: see to that, or name another in store.url"),
    # Redis and Valkey
    ("command not allowed when used memory", "it is full: raise maxmemory, or lower journal.max_bytes; it goes on by itself"),
    ("read only replica", "it is a replica, which takes no commits: name the primary in store.url, or promote it"),
    ("is configured to save RDB", "it cannot save to its disk and therefore takes nothing: look at the server's disk and log"),
    ("NOAUTH", "it wants a password: put it into store.url"),
    ("HELLO must be called with the client already authenticated", "it wants a password: put it into store.url"),
    ("Authentication required", "it wants a password: put it into store.url"),
    ("WRONGPASS", "it does not take this user or password: correct store.url"),
    ("invalid username-password", "it does not take this user or password: correct store.url"),
    ("has no permissions", "its access list forbids that: let this user read, write and run scripts under store.prefix"),
    ("loading the dataset", "it has just started and is reading its files; it goes on by itself"),
    ("MISCONF", "it cannot write its append-only file: look at the server's disk and log; it goes on by itself"),
    ("CLUSTERDOWN", "its cluster has no majority: look at the cluster"),
    ("Connect call failed", "nobody listens there: start it, or correct store.url"),
    ("Connection refused", "nobody listens there: start it, or correct store.url"),
    ("Name or service not known", "no such host: correct store.url"),
)  # fmt: skip


def with_hint(error: BaseException) -> str:
    """The error in one line: its kind, its own words, and what to do about it where that is known."""
    text = " ".join(str(error).split())
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    for pattern, hint in _HINTS:
        if pattern.lower() in text.lower():
            return f"{message} ({hint})"
    return message
