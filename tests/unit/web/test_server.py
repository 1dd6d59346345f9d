"""Probes, metrics and API over a real socket."""

import asyncio
import socket

import aiohttp
import pytest

from consumer.clock import SystemClock
from consumer.errors import StoreUnavailable
from consumer.inspection.status import read_status
from consumer.ports.commit import ChannelState
from consumer.ports.lease import LeaseState
from consumer.stores.sqlite.sqlite_store import SqliteStore
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import Metrics
from consumer.web.server import WebServer

A = "/data/ChangeEvents"


class Store:
    broken = False

    async def channels(self):
        if self.broken:
            raise StoreUnavailable("sqlite:///x.db", "disk full")
        return {A: ChannelState(birth_ms=0, position="opaque-7", position_ms=1_000)}

    async def lease(self):
        return LeaseState("pod-1", 5_000, 12)

    async def org_id(self):
        return "00Dxx0000001gPFEAY"


class World:
    def __init__(self):
        self.clock = SystemClock()
        self.health = Health([A], self.clock.monotonic_ms())
        self.metrics = Metrics()
        self.store = Store()

    def server(self, **options):
        return WebServer(
            health=self.health,
            registry=self.metrics.registry,
            store=self.store,
            clock=self.clock,
            port=0,
            **options,
        )

    def make_ready(self):
        now_ms = self.clock.monotonic_ms()
        self.health.lease_held(now_ms, "pod-1")
        self.health.session_opened(now_ms, 1, [A])


@pytest.fixture
async def world():
    return World()


async def get(server, path, **headers):
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"http://127.0.0.1:{server.port}{path}") as answer,
    ):
        body = await answer.json() if answer.content_type == "application/json" else await answer.text()
        return answer.status, body, answer.headers


async def test_healthz_is_fine_while_the_service_is_not_ready(world):
    async with world.server() as server:
        status, body, _ = await get(server, "/healthz")
        assert status == 200
        assert body["status"] == "alive"
        assert body["uptime_ms"] >= 0


async def test_readyz_accepts_a_standby_in_good_order_where_it_is_asked_to(world):
    async with world.server() as server:
        assert (await get(server, "/readyz?standby"))[0] == 503, "it has not even asked for the lease"
        world.health.lease_waiting(world.clock.monotonic_ms(), "pod-2")
        assert (await get(server, "/readyz"))[0] == 503
        status, body, _ = await get(server, "/readyz?standby")
        assert (status, body["ready"]) == (200, False)
        assert "pod-2" in body["reasons"][0]
        world.health.store_unavailable(world.clock.monotonic_ms(), "connection refused")
        assert (await get(server, "/readyz?standby"))[0] == 503, "it could not take over"
        world.health.store_available()
        world.health.stopping()
        assert (await get(server, "/readyz?standby"))[0] == 503


async def test_readyz_does_not_take_a_leader_in_trouble_for_a_standby(world):
    async with world.server() as server:
        world.health.lease_held(world.clock.monotonic_ms(), "pod-1")
        assert (await get(server, "/readyz?standby"))[0] == 503


async def test_readyz_says_no_with_reasons_and_then_yes(world):
    async with world.server() as server:
        status, body, headers = await get(server, "/readyz")
        assert (status, body) == (
            503,
            {"ready": False, "reasons": ["Starting: the lease has not been requested yet."]},
        )
        assert headers["Cache-Control"] == "no-store"
        world.make_ready()
        assert (await get(server, "/readyz"))[:2] == (200, {"ready": True, "reasons": []})


async def test_metrics_are_in_the_format_that_prometheus_reads(world):
    async with world.server() as server:
        status, body, headers = await get(server, "/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=")
        assert "cadence_build_info" in body


async def test_the_api_stays_closed_without_a_configured_token(world):
    async with world.server() as server:
        status, body, _ = await get(server, "/api/status", Authorization="Bearer x")
        assert status == 403
        assert body == {"error": "the API is closed: set http.token, or CADENCE_HTTP__TOKEN"}


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", "Basic hush-hush", "hush-hush", "Bearer hush-hush-and-more"]
)
@pytest.mark.parametrize(
    "path", ["/api/status", "/api/checkpoints", "/api/unknown", "/", "/healthz/", "/metrics/x"]
)
async def test_everything_but_probes_and_metrics_needs_the_token(world, path, given):
    async with world.server(token="hush-hush") as server:
        status, body, headers = await get(server, path, **({"Authorization": given} if given else {}))
        assert status == 401
        assert headers["WWW-Authenticate"] == 'Bearer realm="cadence-consumer"'
        assert "hush-hush" not in str(body)


async def test_status_gives_the_facts_behind_readiness(world):
    world.make_ready()
    async with world.server(token="hush-hush") as server:
        status, body, _ = await get(server, "/api/status", Authorization="Bearer hush-hush")
        assert status == 200
        assert body["ready"]
        assert body["details"]["channels"] == {A: True}


async def test_checkpoints_give_positions_lease_and_org(world):
    async with world.server(token="hush-hush") as server:
        status, body, _ = await get(server, "/api/checkpoints", Authorization="bearer hush-hush")
        assert status == 200
        assert body == {
            "org_id": "00Dxx0000001gPFEAY",
            "lease": {"holder": "pod-1", "expires": "1970-01-01T00:00:05.000Z", "commits": 12},
            "channels": {
                A: {
                    "position": "opaque-7",
                    "position_time": "1970-01-01T00:00:01.000Z",
                    "birth": "1970-01-01T00:00:00.000Z",
                    "polled_through": None,
                }
            },
        }


async def test_an_unavailable_store_is_a_503_that_says_so(world):
    world.store.broken = True
    async with world.server(token="hush-hush") as server:
        status, body, _ = await get(server, "/api/checkpoints", Authorization="Bearer hush-hush")
        assert (status, body) == (503, {"error": "store sqlite:///x.db is unavailable: disk full"})


async def test_an_unknown_path_is_a_json_404_for_whoever_has_the_token(world):
    async with world.server(token="hush-hush") as server:
        status, body, _ = await get(server, "/api/unknown", Authorization="Bearer hush-hush")
        assert (status, body) == (404, {"error": "GET /api/unknown: Not Found"})


async def test_a_taken_port_is_an_error_and_leaves_nothing_open(world):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = world.server()
        server._wanted_port = taken.getsockname()[1]
        with pytest.raises(OSError, match="address already in use"):
            await server.start()
        with pytest.raises(RuntimeError, match="not started"):
            _ = server.port


async def test_closing_frees_the_port_and_twice_is_harmless(world):
    server = world.server()
    await server.start()
    port = server.port
    await server.aclose()
    await server.aclose()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_the_status_tells_what_the_store_knows_and_answers_also_when_it_says_nothing(world, tmp_path):
    store = SqliteStore(tmp_path / "cadence.db")
    await store.open()

    async def from_store():
        return await read_status(store, [A], ["notify"], 1_000)

    async def broken():
        raise StoreUnavailable("sqlite:///x.db", "disk full")

    async def silent():
        await asyncio.Event().wait()

    key = {"Authorization": "Bearer geheim"}
    async with world.server(token="geheim", service_status=from_store) as server:
        _, body, _ = await get(server, "/api/status", **key)
        assert body["ready"] is False
        assert [one["handler"] for one in body["status"]["handlers"]] == ["notify"]
        assert body["status"]["tasks"] == []
        assert body["status_error"] is None
        assert (await get(server, "/api/status"))[0] == 401
    await store.aclose()
    for ask, why in (
        (broken, "store sqlite:///x.db is unavailable: disk full"),
        (silent, "the store did not answer within 2 s"),
    ):
        async with world.server(token="geheim", service_status=ask) as server:
            status, body, _ = await get(server, "/api/status", **key)
            assert (status, body["status"], body["status_error"]) == (200, None, why)
