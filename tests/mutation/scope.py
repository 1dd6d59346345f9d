"""What is mutated, and the tests that are to notice: the fast ones that know the module, not all that ever reach it."""

from dataclasses import dataclass

__all__ = ["SCOPES", "Scope"]

POSITIONS = "tests/unit/ingest/test_positions.py"
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
    Scope("ids", "consumer/domain/record_ids.py", ("tests/unit/domain/test_record_ids.py",)),
    Scope(
        "identity",
        "consumer/domain/record_state.py",
        (
            "tests/unit/domain/test_record_state.py",
            "tests/properties/test_state.py",
            "tests/unit/domain/test_row_diff.py",
        ),
        only=("RecordState.is_reflected_in_row", "RecordState.with_*", "RecordState.forget_identities"),
    ),
    Scope("inbox", "consumer/ingest/buffer.py", ("tests/unit/ingest/test_buffer.py",)),
    Scope("backoff", "consumer/backoff.py", ("tests/unit/test_backoff.py",)),
    Scope("retry", "consumer/delivery/retry.py", ("tests/unit/delivery/test_retry.py",)),
    Scope("retrying", "consumer/delivery/redrive.py", ("tests/unit/delivery/test_redrive.py",)),
    Scope(
        "handler-state", "consumer/delivery/handler_state.py", ("tests/unit/delivery/test_handler_state.py",)
    ),
    Scope("place", "consumer/delivery/cursor.py", ("tests/unit/delivery/test_cursor.py",)),
    Scope("transactions", "consumer/stores/sqlite/transactions.py", CONTRACTS, chosen="sqlite"),
    Scope(
        "lock",
        "consumer/stores/sqlite/file_lock.py",
        ("tests/unit/stores/sqlite/test_file_lock.py", "tests/contracts/test_sqlite_store.py"),
    ),
    Scope(
        "commits",
        "consumer/ingest/commits.py",
        ("tests/unit/ingest/test_commits.py", "tests/integration/ingest/test_overlap.py"),
    ),
    Scope("pending", "consumer/ingest/pending_commit.py", ("tests/unit/ingest/test_pending_commit.py",)),
    Scope("clock", "consumer/ingest/stream_clock.py", ("tests/unit/ingest/test_stream_clock.py",)),
    # Opening, transactions, the lease, what a commit and a cursor write, what a tenure begins with; not what people look at.
    Scope("sqlite", "consumer/stores/sqlite/sqlite_connections.py", CONTRACTS, chosen="sqlite"),
    Scope("sqlite-lease", "consumer/stores/sqlite/sqlite_lease.py", CONTRACTS, chosen="sqlite"),
    Scope(
        "sqlite-ingest",
        "consumer/stores/sqlite/sqlite_ingest.py",
        CONTRACTS,
        only=tuple(
            f"SqliteIngestStore.{name}"
            for name in ("commit", "states", "channels", "org_id", "epochs", "timers", "reconcile_tasks")
        ),
        chosen="sqlite",
    ),
    Scope(
        "sqlite-checkpoints",
        "consumer/stores/sqlite/sqlite_checkpoints.py",
        CONTRACTS,
        only=("SqliteCheckpointStore.move",),
        chosen="sqlite",
    ),
    Scope(
        "sqlite-journal",
        "consumer/stores/sqlite/sqlite_journal.py",
        CONTRACTS,
        only=tuple(f"SqliteJournalStore.{name}" for name in ("read", "bounds", "trim")),
        chosen="sqlite",
    ),
    Scope(
        "sqlite-cursors",
        "consumer/stores/sqlite/sqlite_delivery.py",
        CONTRACTS,
        only=tuple(f"SqliteCursorStore.{name}" for name in ("cursor", "blocked_runs", "save_cursor")),
        chosen="sqlite",
    ),
)
