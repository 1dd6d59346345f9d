from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from consumer.sandbox import STEP_TRACKER, TRACKER, ManualClock, Sandbox, SandboxOptions

DATA = "/services/data/v66.0"


class Rest:
    """GETs and POSTs with a token, and keeps the last headers."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.access_token()}"})
        self.headers: Any = {}

    async def get(self, path: str, headers: dict[str, str] | None = None, **params: str) -> tuple[int, Any]:
        async with self.http.get(self.sandbox.url + path, params=params, headers=headers) as response:
            self.headers = response.headers
            return response.status, await response.json()

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self.http.post(self.sandbox.url + path, json=body) as response:
            return response.status, await response.json()

    async def query(self, text: str, resource: str = "query") -> Any:
        status, body = await self.get(f"{DATA}/{resource}", q=text)
        assert status == 200, body
        return body


@pytest.fixture
async def small() -> AsyncIterator[Sandbox]:
    """An org whose clock stands still and whose pages hold five rows."""
    async with Sandbox(SandboxOptions(clock=ManualClock(), query_batch_size=5)) as running:
        yield running


@pytest.fixture
async def rest(small: Sandbox) -> AsyncIterator[Rest]:
    made = Rest(small)
    yield made
    await made.http.close()


async def test_a_query_shows_attributes_and_fields_with_rest_dates(small: Sandbox, rest: Rest) -> None:
    run = small.world.enrol("Event Follow-up")
    body = await rest.query(f"SELECT Id, State, SystemModstamp FROM {TRACKER}")
    assert body == {
        "totalSize": 1,
        "done": True,
        "records": [
            {
                "attributes": {"type": TRACKER, "url": f"{DATA}/sobjects/{TRACKER}/{run}"},
                "Id": run,
                "State": "Running",
                "SystemModstamp": "2026-01-01T10:00:00.000+0000",
            }
        ],
    }
    assert rest.headers["Sforce-Limit-Info"] == "api-usage=1/100000"


async def test_pages_follow_the_locator_and_show_the_records_as_they_were(small: Sandbox, rest: Rest) -> None:
    runs = small.world.enrol_many(12, "Event Follow-up")
    body = await rest.query(f"SELECT Id, State FROM {TRACKER} ORDER BY Id")
    small.world.remove(runs[-1])
    sizes, rows = [len(body["records"])], body["records"]
    while not body["done"]:
        status, body = await rest.get(body["nextRecordsUrl"])
        assert (status, body["totalSize"]) == (200, 12)
        sizes.append(len(body["records"]))
        rows += body["records"]
    assert sizes == [5, 5, 2]
    assert sorted(row["Id"] for row in rows) == sorted(runs)
    assert {row["State"] for row in rows} == {"Running"}
    assert "nextRecordsUrl" not in body


async def test_the_batch_size_can_be_asked_for_within_bounds() -> None:
    async with Sandbox() as sandbox:
        rest = Rest(sandbox)
        sandbox.world.enrol_many(450, "Event Follow-up")
        for asked, expected in (("batchSize=300", 300), ("batchSize=7", 200), ("batchSize=9999", 450)):
            _, body = await rest.get(
                f"{DATA}/query", {"Sforce-Query-Options": asked}, q=f"SELECT Id FROM {TRACKER}"
            )
            assert len(body["records"]) == expected
        await rest.http.close()


async def test_an_unknown_locator_is_refused(rest: Rest) -> None:
    status, body = await rest.get(f"{DATA}/query/01gWP0000000001AAA-5")
    assert (status, body[0]["errorCode"]) == (400, "INVALID_QUERY_LOCATOR")


async def test_counting_returns_a_size_and_no_records(small: Sandbox, rest: Rest) -> None:
    small.world.enrol_many(7, "Event Follow-up")
    assert await rest.query(f"SELECT COUNT() FROM {TRACKER}") == {"totalSize": 7, "done": True, "records": []}


async def test_deleted_records_show_in_query_all_alone(small: Sandbox, rest: Rest) -> None:
    run = small.world.enrol("Event Follow-up")
    small.world.delete(run)
    assert (await rest.query(f"SELECT Id FROM {TRACKER}"))["records"] == []
    (row,) = (await rest.query(f"SELECT Id, IsDeleted FROM {TRACKER}", "queryAll"))["records"]
    assert (row["Id"], row["IsDeleted"]) == (run, True)


async def test_calculated_fields_are_calculated_when_read(rest: Rest, small: Sandbox) -> None:
    run = small.world.enrol("Event Follow-up")
    step = small.org.get(TRACKER, run)["CurrentStepId"]
    clock = small.org.clock
    assert isinstance(clock, ManualClock)
    path = f"{DATA}/sobjects/{STEP_TRACKER}/{step}"
    assert (await rest.get(path, fields="SecondsOverdue,IsActionTaken"))[1]["SecondsOverdue"] is None
    clock.advance(86_400_000 + 5_000)
    _, body = await rest.get(path)
    assert (body["SecondsOverdue"], body["IsActionTaken"]) == (5, False)
    small.world.complete_step(run)
    _, body = await rest.get(path)
    assert (body["SecondsOverdue"], body["IsActionTaken"]) == (None, True)


async def test_many_records_come_in_the_order_asked_with_null_for_missing_ones(
    small: Sandbox, rest: Rest
) -> None:
    first, second, gone = small.world.enrol_many(3, "Event Follow-up")
    small.world.delete(gone)
    ids = [second, "0qBWP000000ZZZZ", gone, first[:15]]
    status, body = await rest.post(
        f"{DATA}/composite/sobjects/{TRACKER}", {"ids": ids, "fields": ["Id", "state"]}
    )
    assert status == 200
    assert [row and (row["Id"], row["State"]) for row in body] == [
        (second, "Running"),
        None,
        None,
        (first, "Running"),
    ]


async def test_more_than_2000_ids_and_unknown_fields_are_refused(rest: Rest) -> None:
    path = f"{DATA}/composite/sobjects/{TRACKER}"
    status, body = await rest.post(path, {"ids": ["0qBWP0000001AbC2AU"] * 2001, "fields": ["Id"]})
    assert (status, body[0]["errorCode"]) == (400, "EXCEEDED_ID_LIMIT")
    status, body = await rest.post(path, {"ids": [], "fields": ["Foo"]})
    assert (status, body) == (
        400,
        [{"message": f"No such column 'Foo' on sobject of type {TRACKER}", "errorCode": "INVALID_FIELD"}],
    )
    assert (await rest.post(path, {"fields": []}))[0] == 400


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{DATA}/sobjects/{TRACKER}/0qBWP0000001AbC2AU", 404, "NOT_FOUND"),
        (f"{DATA}/sobjects/{TRACKER}/0qBWP0000001AbC2AX", 400, "MALFORMED_ID"),
        (f"{DATA}/sobjects/Nonsense/0qBWP0000001AbC2AU", 404, "NOT_FOUND"),
        (f"{DATA}/query?q=SELECT+Foo+FROM+{TRACKER}", 400, "INVALID_FIELD"),
        (f"{DATA}/query?q=nonsense", 400, "MALFORMED_QUERY"),
        (f"{DATA}/query", 400, "MALFORMED_QUERY"),
        (f"{DATA}/query?q={'x' * 17_000}", 414, "URI_TOO_LONG"),
    ],
)
async def test_refusals_are_arrays_with_salesforces_codes(
    rest: Rest, path: str, status: int, code: str
) -> None:
    seen, body = await rest.get(path)
    assert (seen, body[0]["errorCode"]) == (status, code)


async def test_without_a_valid_token_nothing_is_shown(rest: Rest) -> None:
    status, body = await rest.get(
        f"{DATA}/query", {"Authorization": "Bearer stale"}, q=f"SELECT Id FROM {TRACKER}"
    )
    assert (status, body) == (
        401,
        [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}],
    )


async def test_versions_need_no_token(rest: Rest) -> None:
    _, versions = await rest.get("/services/data", {"Authorization": ""})
    assert {"label": "v66.0", "url": DATA, "version": "66.0"} in versions


async def test_names_can_be_looked_up(small: Sandbox, rest: Rest) -> None:
    cadences = (await rest.query("SELECT Id, Name, State FROM ActionCadence"))["records"]
    assert {row["Name"] for row in cadences} == {cadence.name for cadence in small.catalogue.cadences}
    steps = await rest.query(
        f"SELECT Id, Title, Type FROM ActionCadenceStep WHERE ActionCadenceId = '{cadences[0]['Id']}'"
    )
    assert [row["Title"] for row in steps["records"]] == [
        step.plan.title for step in small.catalogue.cadence(cadences[0]["Id"]).steps
    ]
    (organization,) = (await rest.query("SELECT Id, InstanceName FROM Organization"))["records"]
    assert organization["Id"] == small.org.organization_id


async def test_pages_by_id_show_every_record_once_whatever_is_added_meanwhile() -> None:
    async with Sandbox(SandboxOptions(clock=ManualClock())) as org:
        rest = Rest(org)
        runs = org.world.enrol_many(300)
        seen: list[str] = []
        while True:
            after = f" AND Id > '{seen[-1]}'" if seen else ""
            body = await rest.query(
                f"SELECT Id FROM {TRACKER} WHERE State = 'Running'{after} ORDER BY Id LIMIT 70", "queryAll"
            )
            seen += [row["Id"] for row in body["records"]]
            if len(body["records"]) < 70:
                break
            runs += org.world.enrol_many(3)
        assert sorted(set(seen)) == sorted(seen) == sorted(runs)
        either = await rest.query(
            f"SELECT Id FROM {TRACKER} WHERE State = 'Running' OR Id > '{seen[-2]}' ORDER BY Id"
        )
        assert either["totalSize"] == len(runs), "what may be left out is decided by the whole condition"
        await rest.http.close()
