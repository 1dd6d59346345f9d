import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumer.sandbox import ALL_CHANGES, PortUnavailable, Sandbox, SandboxOptions, WorldOptions
from tests.support.rigs.bayeux_client import BayeuxClient


class Control:
    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http

    async def get(self, path: str, **params: Any) -> Any:
        async with self.http.get(f"{self.sandbox.url}/sandbox/{path}", params=params) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def post(self, path: str, *, status: int = 200, **body: Any) -> Any:
        async with self.http.post(f"{self.sandbox.url}/sandbox/{path}", json=body) as response:
            assert response.status == status, await response.text()
            return await response.json()


@pytest.fixture
async def control(sandbox: Sandbox) -> AsyncIterator[Control]:
    async with aiohttp.ClientSession() as http:
        yield Control(sandbox, http)


async def test_a_story_told_over_http_is_in_the_ledger_as_it_went_over_the_wire(
    sandbox: Sandbox, control: Control
) -> None:
    run = (await control.post("world", call="enrol", args=["Event Follow-up"]))["result"]
    await control.post("world", call="pause", args=[run], kwargs={"resume_at": None})
    ledger = await control.get("ledger", channel=ALL_CHANGES)
    assert [each["message"] for each in ledger["entries"]] == sandbox.ledger.messages(channel=ALL_CHANGES)
    assert [each["position"] for each in ledger["entries"]] == list(range(4))
    headers = [each["message"]["data"]["payload"]["ChangeEventHeader"] for each in ledger["entries"]]
    assert [each["changeType"] for each in headers] == ["CREATE", "CREATE", "UPDATE", "UPDATE"]
    assert headers[0]["recordIds"] == headers[2]["recordIds"] == [run]


async def test_the_ledger_can_be_read_from_a_replay_id_in_portions(
    sandbox: Sandbox, control: Control
) -> None:
    await control.post("world", advance=20)
    ids = sandbox.ledger.replay_ids()
    ledger = await control.get("ledger", after=ids[4], limit=3)
    assert [each["replayId"] for each in ledger["entries"]] == ids[5:8]
    assert ledger["total"] == len(ids) - 5


async def test_trouble_ordered_over_http_happens_and_is_counted(sandbox: Sandbox, control: Control) -> None:
    await control.post("trouble", kind="drop_session", times=1)
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        assert (await client.connect())[0]["error"] == "403::Unknown client"
    assert (await control.get("status"))["trouble"] == {"drop_session": 1}
    await control.post("trouble", chances={"gap": 1.0})
    await control.post("world", advance=1)
    await control.post("trouble", calm=True)
    await control.post("world", advance=1)
    kinds = [each["data"]["payload"]["ChangeEventHeader"]["changeType"] for each in sandbox.ledger.messages()]
    assert kinds[0].startswith("GAP_")
    assert not kinds[-1].startswith("GAP_")


async def test_records_are_shown_as_rest_shows_them_deleted_ones_too(
    sandbox: Sandbox, control: Control
) -> None:
    run = sandbox.world.enrol("Event Follow-up")
    sandbox.world.delete(run)
    (record,) = (await control.get("records", object="ActionCadenceTracker"))["ActionCadenceTracker"]
    assert (record["Id"], record["IsDeleted"]) == (run, True)
    assert record["CreatedDate"].endswith("+0000")


async def test_status_shows_clients_and_their_positions(sandbox: Sandbox, control: Control) -> None:
    async with BayeuxClient(sandbox) as client:
        await client.open(ALL_CHANGES)
        sandbox.world.advance(3)
        delivered = len(await client.drain())
        status = await control.get("status")
    (shown,) = status["clients"]
    assert shown["clientId"] == client.client_id
    assert shown["delivered"] == delivered == status["events"]
    assert shown["channels"] == {ALL_CHANGES: status["events"]}


async def test_credentials_let_a_stranger_log_in(sandbox: Sandbox, control: Control) -> None:
    known = await control.get("credentials")
    form = {
        "grant_type": "client_credentials",
        "client_id": known["client_id"],
        "client_secret": known["client_secret"],
    }
    async with control.http.post(known["login_url"] + "/services/oauth2/token", data=form) as response:
        assert response.status == 200
    assert known["private_key"].startswith("-----BEGIN PRIVATE KEY-----")


async def test_injected_json_is_on_the_bus(sandbox: Sandbox, control: Control) -> None:
    answer = await control.post("inject", data={"payload": {"no": "header"}})
    assert sandbox.ledger.replay_ids() == [answer["replayId"]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("trouble", {"kind": "frogs"}),
        ("trouble", {"chances": {"frogs": 1}}),
        ("world", {"call": "org"}),
        ("world", {"call": "pause", "args": ["0qBWP0000001AbC2AU"]}),
        ("inject", {}),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_sentence(
    control: Control, path: str, body: dict[str, Any]
) -> None:
    assert len((await control.post(path, status=400, **body))["error"]) > 10


async def test_a_world_with_a_rate_drives_itself() -> None:
    async with Sandbox(SandboxOptions(world=WorldOptions(events_per_second=2000))) as sandbox:
        async with asyncio.timeout(10):
            while len(sandbox.ledger) < 500:
                await asyncio.sleep(0.01)


async def test_a_world_that_breaks_down_is_reported_on_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox(SandboxOptions(world=WorldOptions(events_per_second=1000)))
    broke = asyncio.Event()

    def broken(_enough: object) -> None:
        broke.set()
        raise ZeroDivisionError("the world ended")

    monkeypatch.setattr(sandbox.world, "advance_until", broken)
    with pytest.raises(ZeroDivisionError, match="the world ended"):
        async with sandbox:
            await broke.wait()


async def test_a_taken_port_is_named(sandbox: Sandbox) -> None:
    with pytest.raises(PortUnavailable, match=str(sandbox.port)):
        async with Sandbox(SandboxOptions(port=sandbox.port)):
            pass


async def test_a_port_can_be_used_again_at_once(sandbox: Sandbox) -> None:
    async with Sandbox() as first:
        port = first.port
    async with Sandbox(SandboxOptions(port=port)) as second:
        assert second.url == f"http://localhost:{port}"


async def test_the_sandbox_serves_tls_when_given_a_context(tmp_path: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate = self_signed(tmp_path)
    server.load_cert_chain(certificate)
    async with Sandbox(SandboxOptions(tls=server)) as sandbox, aiohttp.ClientSession() as http:
        assert sandbox.url.startswith("https://localhost:")
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with http.get(f"{sandbox.url}/services/data", ssl=trusting) as response:
            assert response.status == 200


def self_signed(folder: Path) -> Path:
    """A PEM file with a key and a certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    file = folder / "localhost.pem"
    file.write_bytes(private + certificate.public_bytes(encoding))
    return file
