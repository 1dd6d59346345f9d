"""What is mutated, and the tests that are to notice: the fast ones that know the module, not all that ever reach it."""

from dataclasses import dataclass

__all__ = ["SCOPES", "Scope"]

POSITIONS = "tests/unit/ingest/test_positions.py"
PURE_DELIVERY = "tests/unit/delivery/test_pure_parts.py"
CONTRACTS = (
    "tests/contracts/test_store.py",
    "tests/contracts/test_lease.py",
    "tests/contracts/test_sqlite_store.py",
)


@dataclass(frozen=True)
class Scope:
    """One module with its tests.

    Attributes:
        name: for ``--only``.
        module: its file.
        tests: files of tests.
        only: functions, as ``function`` or ``Class.method``; empty for all. A name ending in ``*`` begins like that.
        chosen: what pytest's ``-k`` leaves of the tests.
    """

    name: str
    module: str
    tests: tuple[str, ...]
    only: tuple[str, ...] = ()
    chosen: str = ""


SCOPES = (
    Scope("sequencer", "consumer/ingest/sequencer.py", ("tests/unit/ingest/test_sequencer.py",)),
    Scope("positions", "consumer/ingest/positions.py", (POSITIONS,)),
    Scope("channels", "consumer/ingest/channels.py", ("tests/unit/ingest/test_channels.py",)),
    Scope("ids", "consumer/ids.py", ("tests/unit/core/test_ids.py",)),
    Scope(
        "identity",
        "consumer/state.py",
        (
            "tests/unit/core/test_identity.py",
            "tests/properties/test_state.py",
            "tests/unit/core/test_rows.py",
        ),
        only=("RecordState.covers", "RecordState.with_*", "RecordState.forget_identities"),
    ),
    Scope("inbox", "consumer/ingest/inbox.py", ("tests/unit/ingest/test_inbox.py",)),
    Scope("retry", "consumer/delivery/retry.py", (PURE_DELIVERY, "tests/unit/delivery/test_retry_policy.py")),
    Scope("retrying", "consumer/delivery/retrying.py", ("tests/unit/delivery/test_retried_letters.py",)),
    Scope("place", "consumer/delivery/place.py", (PURE_DELIVERY, "tests/unit/delivery/test_place.py")),
    Scope("transactions", "consumer/stores/transactions.py", CONTRACTS, chosen="sqlite"),
    Scope(
        "lock",
        "consumer/stores/file_lock.py",
        ("tests/unit/test_file_lock.py", "tests/contracts/test_sqlite_store.py"),
    ),
    Scope("committer", "consumer/ingest/committer.py", ("tests/unit/ingest/test_committer.py",)),
    Scope(
        "writer",
        "consumer/ingest/writer.py",
        ("tests/unit/ingest/test_writer.py", "tests/unit/ingest/test_overlap.py"),
    ),
    Scope("ready", "consumer/ingest/ready.py", ("tests/unit/ingest/test_writer.py",)),
    Scope(
        "sqlite",
        "consumer/stores/sqlite.py",
        CONTRACTS,
        # Opening, transactions, the lease, what a commit and a place write, what a tenure begins with; not what people look at.
        only=tuple(
            f"SqliteStore.{name}"
            for name in (
                *("open", "_open_writer", "_open_reader", "_check_format", "aclose", "_disconnect"),
                *("_run", "_write", "_read", "acquire", "renew", "release", "lease"),
                *("commit", "states", "channels", "org_id", "epochs", "timers", "tasks", "move"),
                *("read", "bounds", "trim", "place", "parked", "save_place"),
            )
        ),
        chosen="sqlite",
    ),
)
