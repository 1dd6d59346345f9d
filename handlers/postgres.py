"""Lifecycle events and current records in PostgreSQL, each event applied once.

The handler owns two tables in its own schema: ``events`` has one row per event, ``records`` the current state of every run and step. A
batch is one transaction: events whose id is already stored are skipped, and only new ones update ``records``. Ids are deterministic and
committed together with the effect, so a crash on either side, a lost answer or a replay applies no event twice. There is no time limit
on this: ids are kept as long as the rows.

``records`` holds the newest known values. An event that is late, or older than the stored record (a redriven dead letter), only adds
fields that have no value yet. Deleted records remain, marked ``deleted``.

The handler creates and migrates its tables when it opens; ``meta`` holds their version. Needs the extra: ``pip install
'cadence-consumer[postgres]'``.

::

    [handlers.warehouse]
    use = "postgres"
    settings.dsn = "postgresql://cadence:…@db/warehouse"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from consumer import BatchHandler, Context, LifecycleEvent, Reject

try:
    import asyncpg
except ImportError as missing:
    raise ImportError("asyncpg is not installed; pip install 'cadence-consumer[postgres]'") from missing

__all__ = ["Postgres"]

TIMEOUT_S = 20.0
MIGRATION_LOCK_ID = 0x_CADE_0001
"""Id of the advisory lock that serialises migrations by several replicas."""

MIGRATIONS = (
    """
    CREATE TABLE {schema}.events (
        id text PRIMARY KEY,
        ordinal bigint GENERATED ALWAYS AS IDENTITY,
        type text NOT NULL,
        time timestamptz NOT NULL,
        tracker_id text,
        record_id text,
        event jsonb NOT NULL,
        inserted_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX events_tracker_id ON {schema}.events (tracker_id, ordinal);
    CREATE INDEX events_type ON {schema}.events (type, time);
    CREATE TABLE {schema}.records (
        record_id text PRIMARY KEY,
        entity text NOT NULL,
        tracker_id text,
        state text GENERATED ALWAYS AS (fields ->> 'State') STORED,
        fields jsonb NOT NULL,
        deleted boolean NOT NULL,
        time timestamptz NOT NULL,
        commit_number bigint NOT NULL,
        sequence_number bigint NOT NULL,
        event_id text NOT NULL
    );
    CREATE INDEX records_tracker_id ON {schema}.records (tracker_id);
    """,
)
"""Statements that migrate from version n to n + 1, at index n."""

INSERT = """
    INSERT INTO {schema}.events (id, type, time, tracker_id, record_id, event)
    SELECT id, type, time, tracker_id, record_id, event::jsonb
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
        WITH ORDINALITY AS batch (id, type, time, tracker_id, record_id, event, ordinal)
    ORDER BY ordinal
    ON CONFLICT (id) DO NOTHING
    RETURNING id
"""

# $10: the event is late. The row comparison puts the commit time first, because commit numbers restart when Salesforce migrates an org.
UPSERT = """
    INSERT INTO {schema}.records AS existing
        (record_id, entity, tracker_id, fields, deleted, time, commit_number, sequence_number, event_id)
    VALUES ($1, $2, $3, $4::text::jsonb, $5, $6, $7, $8, $9)
    ON CONFLICT (record_id) DO UPDATE SET
        (tracker_id, fields, deleted, time, commit_number, sequence_number, event_id) = (
            SELECT coalesce(existing.tracker_id, excluded.tracker_id),
                CASE WHEN older THEN excluded.fields || existing.fields ELSE existing.fields || excluded.fields END,
                CASE WHEN older THEN existing.deleted ELSE excluded.deleted END,
                CASE WHEN older THEN existing.time ELSE excluded.time END,
                CASE WHEN older THEN existing.commit_number ELSE excluded.commit_number END,
                CASE WHEN older THEN existing.sequence_number ELSE excluded.sequence_number END,
                CASE WHEN older THEN existing.event_id ELSE excluded.event_id END
            FROM (SELECT $10::boolean OR (excluded.time, excluded.commit_number, excluded.sequence_number)
                < (existing.time, existing.commit_number, existing.sequence_number)) AS compared (older)
        )
"""


def _check_address(dsn: SecretStr) -> SecretStr:
    if not dsn.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    return dsn


class Postgres(BatchHandler):
    """Insert each event and update its record, once."""

    class Settings(BaseModel):
        """Database and schema."""

        model_config = ConfigDict(extra="forbid", populate_by_name=True)

        dsn: Annotated[SecretStr, AfterValidator(_check_address)] = Field(
            description="URL of the database, such as `postgresql://user:password@host:port/name?sslmode=require`."
        )
        db_schema: str = Field(
            default="cadence",
            alias="schema",
            pattern=r"^[a-z_][a-z0-9_]{0,62}$",
            description="Schema that holds the tables; created if it does not exist.",
        )

    on = ("*",)

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Connect, and create or migrate the tables.

        Raises:
            RuntimeError: a newer release has migrated the tables.
        """
        schema = settings.db_schema
        self._insert, self._upsert = INSERT.format(schema=schema), UPSERT.format(schema=schema)
        self._pool: Any = await asyncpg.create_pool(  # type: ignore[no-untyped-call]
            settings.dsn.get_secret_value(),
            min_size=1,
            max_size=4,
            timeout=TIMEOUT_S,
            command_timeout=TIMEOUT_S,
        )
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await _migrate(connection, schema, ctx)
        except BaseException:
            self._pool.terminate()
            raise

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Write the events in one transaction."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                new = await self._write(connection, events)
        except asyncpg.DataError as error:
            if len(events) > 1:
                raise  # the service then delivers the events one by one, which isolates the bad one
            raise Reject(f"PostgreSQL cannot store this event: {error}") from error
        if new < len(events):
            ctx.log.info("skipped events already in the table", events=len(events) - new)

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    async def _write(self, connection: Any, events: Sequence[LifecycleEvent]) -> int:
        """Insert the events and update the records of the new ones; return their number."""
        columns = zip(*(_event_row(event) for event in events), strict=True)
        new = {row["id"] for row in await connection.fetch(self._insert, *map(list, columns))}
        rows = [_record_row(event) for event in events if event.id in new and event.record_id is not None]
        if rows:
            await connection.executemany(self._upsert, rows)
        return len(new)


def _event_row(event: LifecycleEvent) -> tuple[Any, ...]:
    return event.id, event.type, event.time, event.tracker_id, event.record_id, event.to_json().decode()


def _record_row(event: LifecycleEvent) -> tuple[Any, ...]:
    record_fields = (
        event.after.model_dump(mode="json", by_alias=True, exclude_unset=True) if event.after else {}
    )
    transaction = event.transaction
    return (
        event.record_id,
        event.entity or "",
        event.tracker_id,
        orjson.dumps(record_fields).decode(),
        event.type.endswith(".deleted"),
        event.time,
        transaction.commit_number if transaction is not None else 0,
        transaction.sequence_number if transaction is not None else 0,
        event.id,
        event.late,
    )


async def _migrate(connection: Any, schema: str, ctx: Context) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK_ID)
    # CREATE SCHEMA IF NOT EXISTS requires the privilege to create even if the schema exists.
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema):
        await connection.execute(f"CREATE SCHEMA {schema}")
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.meta") is None:
        await connection.execute(f"CREATE TABLE {schema}.meta (version integer NOT NULL)")
        await connection.execute(f"INSERT INTO {schema}.meta VALUES (0)")  # noqa: S608 - a checked name
    version = await connection.fetchval(f"SELECT version FROM {schema}.meta")  # noqa: S608 - a checked name
    if version > len(MIGRATIONS):
        raise RuntimeError(
            f"the tables in schema {schema} have version {version}, and this release supports up to {len(MIGRATIONS)}; "
            "run the newer release, or set settings.schema to another schema"
        )
    for number in range(version, len(MIGRATIONS)):
        await connection.execute(MIGRATIONS[number].format(schema=schema))
        await connection.execute(f"UPDATE {schema}.meta SET version = $1", number + 1)  # noqa: S608 - a checked name
        ctx.log.info("migrated tables", schema=schema, version=number + 1)
