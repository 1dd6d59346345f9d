"""The PostgreSQL sink, on a real server: every effect once, records as they are now."""

import itertools

import asyncpg
import orjson
import pytest

from consumer import LifecycleEvent
from consumer.errors import SettingsError
from tests.support.servers.postgres_server import PostgresServer

_names = itertools.count(1)


@pytest.fixture(scope="module")
def server():
    one = PostgresServer()
    one.make()
    one.start()
    yield one
    one.remove()


@pytest.fixture
async def ask(server):
    async def query(text, *arguments):
        connection = await asyncpg.connect(server.dsn)
        try:
            return await connection.fetch(text, *arguments)
        finally:
            await connection.close()

    return query


@pytest.fixture
def schema():
    return f"t{next(_names)}"


@pytest.fixture
def kit(server, feed, schema):
    return lambda **section: feed("postgres", settings={"dsn": server.dsn, "schema": schema}, **section)


async def close_killed(kit):
    for dead in kit.killed:
        await dead.close()


def story(run):
    return run.enrol().begin_step().complete_step().reassign("0055e000000OTHER").end("LeadConverted")


async def events_of(ask, schema):
    rows = await ask(f"SELECT event FROM {schema}.events ORDER BY ordinal")
    return [LifecycleEvent.from_json(row["event"].encode()) for row in rows]


async def test_events_are_rows_in_order_and_records_are_as_they_are_now(kit, ask, schema, new_run):
    run = story(new_run())
    await kit().deliver(run.events)
    assert await events_of(ask, schema) == run.events
    rows = {row["record_id"]: row for row in await ask(f"SELECT * FROM {schema}.records")}
    assert {key: row["state"] for key, row in rows.items()} == {
        run.tracker_id: "Complete",
        run.step_tracker_id: "Completed",
    }
    fields = orjson.loads(rows[run.tracker_id]["fields"])
    assert fields["OwnerId"] == "0055e000000OTHER"
    assert fields["CompletionReason"] == "LeadConverted"
    assert rows[run.step_tracker_id]["tracker_id"] == run.tracker_id


async def test_killed_repeated_and_replayed_every_effect_is_there_once(kit, ask, schema, new_run):
    run = story(new_run())
    sink = kit()
    await sink.deliver(run.events[:4], kills=[1, 2])
    await sink.deliver(run.events)
    written = f"SELECT xmin::text, * FROM {schema}.records ORDER BY record_id"  # xmin: who wrote the row last
    after = await ask(written)
    await sink.replay(run.events)
    await sink.deliver(run.events[:2])
    await close_killed(sink)
    assert await events_of(ask, schema) == run.events
    assert await ask(written) == after


async def test_what_breaks_between_event_and_record_leaves_neither(kit, ask, schema, new_run):
    run = story(new_run())
    await kit().deliver([])
    await ask(f"ALTER TABLE {schema}.records ADD CONSTRAINT never CHECK (state <> 'Complete')")
    report = await kit(max_attempts=1).deliver(run.events)
    assert [event.type for event, _ in report.dead_letters] == ["run.ended.converted"]
    assert await events_of(ask, schema) == run.events[:-1]
    await ask(f"ALTER TABLE {schema}.records DROP CONSTRAINT never")
    await kit().deliver(run.events)
    assert await events_of(ask, schema) == run.events


async def test_late_and_older_events_add_only_what_nothing_newer_wrote(kit, ask, schema, new_run):
    run = new_run().enrol().pause().resume()
    first, started, paused, resumed = run.events
    assert paused.after is not None
    late = paused.model_copy(
        update={
            "id": "late",
            "late": True,
            "after": type(paused.after)(State="Paused", CompletionDisposition="Success"),
        }
    )
    await kit().deliver([first, started, resumed, paused, late])
    (row,) = await ask(f"SELECT * FROM {schema}.records")
    assert (row["state"], row["event_id"]) == ("Running", resumed.id)
    assert orjson.loads(row["fields"])["CompletionDisposition"] == "Success"


async def test_a_deleted_record_stays_and_says_so(kit, ask, schema, new_run):
    run = new_run().enrol()
    last = run.events[-1]
    deleted = last.model_copy(update={"id": "gone", "type": "run.deleted"})
    await kit().deliver([*run.events, deleted])
    assert [tuple(row) for row in await ask(f"SELECT state, deleted FROM {schema}.records")] == [
        ("Running", True)
    ]


async def test_what_postgresql_cannot_hold_is_a_dead_letter_and_the_rest_is_written(
    kit, ask, schema, new_run
):
    run = new_run().enrol().pause()
    poison = run.events[1].model_copy(update={"cadence_name": "nul \x00"})
    report = await kit().deliver([run.events[0], poison, run.events[2]])
    assert [event.id for event, _ in report.dead_letters] == [poison.id]
    assert "cannot store" in report.dead_letters[0][1]
    assert await events_of(ask, schema) == [run.events[0], run.events[2]]


async def test_a_server_that_crashes_is_written_to_again_when_it_is_back(kit, ask, schema, server, new_run):
    run = story(new_run())
    sink = kit(max_attempts=2)
    await sink.deliver(run.events[:3])
    server.stop()
    try:
        with pytest.raises(ConnectionRefusedError):
            await sink.deliver(run.events)
    finally:
        server.start()
    await sink.deliver(run.events)
    assert await events_of(ask, schema) == run.events


async def test_tables_of_a_newer_release_are_left_alone(kit, ask, schema, new_run):
    await kit().deliver([])
    await ask(f"UPDATE {schema}.meta SET version = 99")
    with pytest.raises(RuntimeError, match="have version 99"):
        await kit().deliver(new_run().enrol().events)
    assert await events_of(ask, schema) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"dsn": "mysql://u:hunter2@x"}, "postgresql://"), ({"schema": "a; drop"}, "schema")],
)
def test_wrong_settings_are_named_without_the_password(feed, settings, said):
    with pytest.raises(SettingsError, match=said) as error:
        feed("postgres", settings={"dsn": "postgresql://u:hunter2@x/y", **settings})
    assert "hunter2" not in str(error.value)
