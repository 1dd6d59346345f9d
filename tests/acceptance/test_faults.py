"""Every fault of connection and authentication, over real sockets, against the real service: noticed, told, survived, nothing lost.

``pytest -s`` prints how long each took; the table in deploy/README.md has these figures. What waits long by design runs with shorter waits
(``tests.support.processes.impatient``), and where faults follow each other on one service, half a second of health stands for the minute after which the
command takes a failure for the first one again.
"""

import asyncio
import datetime as dt
import json
import signal
import ssl
import time
from collections import Counter

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from consumer.sandbox import CometdOptions, OAuthOptions, SandboxOptions
from consumer.settings import load_settings
from consumer.wiring import open_rest
from tests.support.processes.connection import POLL_MS, connected, table
from tests.support.processes.service_process import ServiceProcess

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

ONE_BY_ONE = {"healthy_ms": 500}
HELD = CometdOptions(poll_timeout_ms=POLL_MS)
HANDSHAKE = b"/meta/handshake"


async def test_a_broken_wire_and_http_errors(tmp_path):
    async with connected(tmp_path, backoff=ONE_BY_ONE) as link:
        link.live()
        wire = {"connect_failed", "connection_lost", "truncated", "authentication_failed"}

        async def reset():
            link.proxy.reset()

        async def cut():
            link.proxy.cut(answers_after=300)

        await link.endure("connection refused", link.unplug, wire, clear=link.plug_in, lasts_s=1)
        await link.endure("connection reset", reset, wire)
        await link.endure("answer cut by a reset", cut, wire)
        await link.endure("answer cut, socket closed", link.fault("cut"), wire)
        for status, codes in (
            (401, {"http_401"}), (403, {"http_403"}), (413, {"request_too_large"}), (429, {"http_429"}),
            (500, {"http_500"}), (503, {"server_busy"}),
        ):  # fmt: skip
            await link.endure(f"HTTP {status} with HTML", link.fault("http_status", status=status), codes)
        await link.endure("HTTP 200 with HTML", link.fault("http_status", status=200), {"bad_body"})
        await link.endure("malformed JSON", link.fault("malformed"), {"bad_body"})
        lines = link.logged("session_ended")
        assert all(line["detail"] and line["remedy"] and line["retry_after_ms"] >= 0 for line in lines)
        numbers = await link.metrics()
        counted = {
            name: value
            for name, value in numbers.items()
            if name.startswith("cadence_sessions_ended_total{") and value
        }
        assert counted == {
            f'cadence_sessions_ended_total{{reason="{code}"}}': times
            for code, times in Counter(link.ends()).items()
        }
        headroom = [value for name, value in numbers.items() if "retention_headroom" in name]
        assert len(headroom) == 2
        assert all(72 * 3_600 - 60 < value <= 72 * 3_600 for value in headroom)
        assert numbers["cadence_loop_stalls_total"] == 0
        events = await link.settle()
        print(f"\n{table(link)}\n{events} events")


async def test_sessions_that_salesforce_ends_or_refuses(tmp_path):
    async with connected(tmp_path, backoff=ONE_BY_ONE) as link:
        link.live()
        unknown = {"unknown_client"}
        await link.endure("403::Unknown client, once", link.fault("drop_session"), unknown)
        await link.endure(
            "402::Unknown client, once", link.fault("drop_session", error="402::Unknown client"), unknown
        )
        await link.endure(
            "403::Unknown client, four sessions running",
            link.fault("drop_session", times=4),
            unknown,
            ends=4,
        )
        await link.endure(
            "/meta/disconnect by the server", link.fault("server_disconnect"), {"server_disconnect"}
        )

        def after_drop(kind, **details):
            async def inject():
                link.sandbox.faults.inject(kind, **details)
                link.sandbox.faults.inject("drop_session")

            return inject

        await link.endure(
            "handshake refused, server too busy",
            after_drop("refuse_handshake"),
            {*unknown, "server_busy"},
            ends=2,
        )
        await link.endure(
            "subscription refused by a policy",
            after_drop("refuse_subscribe"),
            {*unknown, "subscribe_denied"},
            ends=2,
        )
        # What is expired must have been committed, or it would really be lost.
        link.rest()
        await link.caught_up()

        async def expire():
            link.sandbox.faults.inject("expire")
            link.sandbox.faults.inject("drop_session")

        await link.endure("replay id refused", expire, {*unknown, "replay_invalid"}, ends=2)
        link.live()
        await link.healthy(2)
        refused = link.logged("position_refused")
        assert refused
        assert not any(line["missed"] for line in refused), "polls were answered all the time"
        events = await link.settle()
        print(f"\n{table(link)}\n{events} events")


async def test_tokens_that_end(tmp_path):
    backoff = {**ONE_BY_ONE, "locked_first_ms": 800, "locked_max_ms": 2_000}
    async with connected(tmp_path, backoff=backoff) as link:
        link.live()
        refused = {"authentication_invalid"}
        none = {*refused, "authentication_failed"}
        await link.endure("token revoked", link.fault("revoke"), refused)

        def revoked_and(**details):
            async def inject():
                link.sandbox.faults.inject("http_status", scope="oauth", **details)
                link.sandbox.faults.inject("revoke")

            return inject

        await link.endure("token endpoint answers 503, twice", revoked_and(status=503, times=2), none, ends=2)
        body = json.dumps(
            {"error": "invalid_grant", "error_description": "user hasn't approved this consumer"}
        )
        asked = link.sandbox.oauth.tokens.issued
        denial = revoked_and(status=400, times=3, body=body, content_type="application/json")
        await link.endure("sign-in refused for good, then allowed (waits shortened)", denial, none, ends=3)
        assert link.sandbox.oauth.tokens.issued - asked <= 3
        waits = [
            line["retry_after_ms"]
            for line in link.logged("authentication_failed")
            if line["code"] == "invalid_grant"
        ]
        assert waits, "it was said"
        assert min(waits) >= 800, "no sign-in follows a refused one quickly: that is how accounts get locked"
        events = await link.settle()
        print(f"\n{table(link)}\n{events} events")


async def test_tokens_that_expire_all_the_time(tmp_path):
    options = SandboxOptions(cometd=HELD, oauth=OAuthOptions(token_lifetime_ms=1_500, sliding=False))
    async with connected(tmp_path, backoff=ONE_BY_ONE, options=options) as link:
        link.live()
        expired = link.ends
        await link.until(lambda: expired().count("authentication_invalid") >= 2, "two tokens expire", 25)
        assert set(expired()) == {"authentication_invalid"}
        assert not link.logged("authentication_failed")
        assert await link.settle()


async def test_a_refresh_token_that_rotates_survives_kills(tmp_path):
    """The settings' own token is dead after the first sign-in; the living one is in the store alone."""
    options = SandboxOptions(cometd=HELD, oauth=OAuthOptions(rotate_refresh_tokens=True))
    rotating = {"CADENCE_SALESFORCE__AUTH": "refresh_token"}
    async with connected(
        tmp_path, options=options, **rotating, CADENCE_SALESFORCE__REFRESH_TOKEN=_refresh_token(options)
    ) as link:
        link.live()
        for _ in range(2):
            issued = link.sandbox.oauth.tokens.issued
            link.sandbox.faults.inject("revoke")
            await link.until(
                lambda issued=issued: link.sandbox.oauth.tokens.issued > issued, "it signs in again", 20
            )
            await link.healthy(0.5)
            link.service.signal(signal.SIGKILL)
            await link.service.ended()
            await link.service.start()
            await link.service.ready()
        await link.healthy(0.5)
        assert link.sandbox.oauth.tokens.issued >= 5
        assert await link.settle()
        # A command that asks Salesforce signs in with the kept token too, and leaves the next one to the service.
        settings = load_settings(None, link.service._environment, connects=True)
        async with open_rest(settings) as (rest, _):
            assert await rest.query("SELECT Id FROM ActionCadence")
        await link.service.start()
        await link.service.ready()
        data = b"".join(path.read_bytes() for path in tmp_path.glob("cadence.db*"))
        assert b"5Aep861" not in data, "not in the clear"


def _refresh_token(options):
    from consumer.sandbox import Sandbox

    return Sandbox(options).credentials.refresh_token


async def test_a_used_up_daily_allocation_is_waited_for(tmp_path):
    async with connected(tmp_path, backoff={**ONE_BY_ONE, "quota_ms": 1_500}) as link:
        link.live()
        await link.endure(
            "daily delivery limit, two sessions running (wait shortened)",
            link.fault("refuse_connect", times=2), {"daily_limit"}, ends=2,
        )  # fmt: skip
        waits = [line["retry_after_ms"] for line in link.logged("session_ended")]
        assert len(waits) == 2, "it stays down as long as it should"
        assert min(waits) >= 1_500
        events = await link.settle()
        print(f"\n{table(link)}\n{events} events")


# ---------------------------------------------------------------- silence


async def test_silence_is_noticed_within_what_the_server_advised_and_fifteen_seconds(tmp_path):
    """The command itself, four times side by side, because silence takes its time."""
    async with (
        connected(tmp_path / "half-open") as half_open,
        connected(tmp_path / "silent") as silent,
        connected(tmp_path / "handshake") as handshake,
        connected(tmp_path / "sign-in") as sign_in,
    ):
        links = (half_open, silent, handshake, sign_in)
        for link in links:
            link.live(0.1)
        ceiling = POLL_MS / 1000 + 15

        async def freeze():
            half_open.proxy.freeze()

        async def thaw():
            half_open.proxy.thaw()

        stalled = []

        async def hold_handshake():
            stalled.append(handshake.proxy.hold_request(HANDSHAKE))
            handshake.sandbox.faults.inject("drop_session")

        async def hold_sign_in():
            stalled.append(sign_in.proxy.hold_request(b"/services/oauth2/token"))
            sign_in.sandbox.faults.inject("revoke")

        await asyncio.gather(
            half_open.endure(
                "half-open connection (polls held 2 s)", freeze,
                {"poll_timeout", "handshake_timeout", "connect_failed"}, clear=thaw, ceiling_s=ceiling + 5,
            ),
            silent.endure("poll never answered (held 2 s)", silent.fault("stall"), {"poll_timeout"}, ceiling_s=ceiling + 5),
            handshake.endure(
                "handshake never answered", hold_handshake, {"unknown_client", "handshake_timeout"}, ends=2, recovery_s=40
            ),
            sign_in.endure(
                "sign-in never answered", hold_sign_in, {"authentication_invalid", "authentication_failed"}, ends=2, recovery_s=40
            ),
        )  # fmt: skip
        for each in stalled:
            each.release()
        events = await asyncio.gather(*(link.settle() for link in links))
        print(f"\n{table(*links)}\n{sum(events)} events")


# ---------------------------------------------------------------- TLS


def certificate(folder, name, issuer=None):
    """A certificate for localhost, by ``issuer`` (certificate, key) or by itself; its files and what signs others."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )  # fmt: skip
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files, (built, key)


async def test_a_certificate_that_is_not_trusted_keeps_it_away_until_it_is_replaced(tmp_path):
    authority_files, authority = certificate(tmp_path, "authority")
    good, _ = certificate(tmp_path, "good", authority)
    bad, _ = certificate(tmp_path, "bad")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*good)
    options = SandboxOptions(cometd=HELD, tls=tls)
    async with connected(
        tmp_path, backoff=ONE_BY_ONE, options=options, wire=False, SSL_CERT_FILE=str(authority_files[0])
    ) as link:
        link.live()

        async def spoil():
            tls.load_cert_chain(*bad)
            link.sandbox.faults.inject("close_socket")

        async def restore():
            tls.load_cert_chain(*good)

        codes = {"connection_lost", "tls_failed"}
        await link.endure("TLS: certificate not trusted", spoil, codes, clear=restore, lasts_s=2)
        assert "tls_failed" in link.ends()
        events = await link.settle()
        print(f"\n{table(link)}\n{events} events")


# ---------------------------------------------------------------- what only a person can change


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (
            "400::The channel you requested to subscribe to doesn't exist {x}",
            69,
            "Setup > Change Data Capture",
        ),
        ("403::User not allowed to subscribe CDC without View All Data permissions", 77, "View All Records"),
    ],
    ids=["channel not enabled", "permission missing"],
)
async def test_what_only_a_person_can_change_ends_the_process_with_what_to_do(tmp_path, error, code, says):
    async with connected(tmp_path) as link:
        link.live()
        await link.healthy()
        began = time.monotonic()
        link.sandbox.faults.inject("refuse_subscribe", error=error)
        link.sandbox.faults.inject("drop_session")
        assert await link.service.ended() == code, link.service.errors()[-3000:]
        ended_s = time.monotonic() - began
        (last,) = [line for line in link.logged("stopped") if "error" in line]
        assert says in last["error"]
        assert link.readiness.first(False, began) is not None
        # A person has done it; whoever supervises the process starts it again.
        link.keeps_secrets()
        again = time.monotonic()
        await link.service.start()
        await link.service.ready()
        print(
            f"\n{error[:40]}…: ended with {code} after {ended_s:.2f} s, ready {time.monotonic() - again:.2f} s after the start"
        )
        assert await link.settle()


# ---------------------------------------------------------------- a server that nobody here wrote


async def test_the_same_on_a_cometd_server_that_nobody_here_wrote(tmp_path):
    from consumer.stores.sqlite.sqlite_store import SqliteStore
    from tests.acceptance.test_service_interop import stories
    from tests.acceptance.test_source_interop import STEP, TRACKER, cometd_server
    from tests.oracle import compare, expected
    from tests.support.processes.connection import Link, Readiness

    told = stories()
    path = tmp_path / "cadence.db"
    async with cometd_server(timeout=2000, maxInterval=10_000) as bus:
        environment = {
            "CADENCE_SALESFORCE__LOGIN_URL": bus.url,
            "CADENCE_SALESFORCE__CLIENT_ID": "client",
            "CADENCE_SALESFORCE__CLIENT_SECRET": "a-secret-of-the-settings",
            "CADENCE_STORE__URL": f"sqlite:///{path}",
            "CADENCE_REPLAY__START": "earliest",
            "CADENCE_LOG__FORMAT": "json",
        }
        async with ServiceProcess(environment, tmp_path) as service, Readiness(service) as readiness:
            await service.ready()
            link = Link(None, None, service, tmp_path, readiness, lambda: SqliteStore(path, read_only=True))

            async def go_on():
                while True:
                    channel, payload = next(told)
                    await bus.do("publish", channel=channel, payloads=[payload])
                    await asyncio.sleep(0.02)

            world = asyncio.create_task(go_on())

            def does(what):
                async def inject():
                    await bus.do(what)

                return inject

            for what, codes in (
                (
                    "disconnect",
                    {"server_disconnect", "unknown_client", "rehandshake_advised", "reconnect_refused"},
                ),
                ("cut", {"connection_lost", "truncated"}),
                # That server answers 500 when it loses the session of a poll that it holds.
                ("forget", {"unknown_client", "rehandshake_advised", "http_500"}),
                ("revoke", {"authentication_invalid", "http_401"}),
            ):
                await link.endure(f"cometd-nodejs-server: {what}", does(what), codes)
            world.cancel()
            await asyncio.wait({world})
            ledger = await bus.do("ledger")
            messages = [
                {"channel": channel, "data": data} for channel in (TRACKER, STEP) for data in ledger[channel]
            ]
            journal = await link.journal()
            org_id = journal[0]["id"].split("/")[0]
            wanted = expected(messages, org_id)
            async with asyncio.timeout(30):
                while not wanted.ids <= {event["id"] for event in journal}:
                    await asyncio.sleep(0.2)
                    journal = await link.journal()
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0, service.errors()[-3000:]
        verdict = compare(wanted, await link.journal())
        assert verdict.ok, str(verdict)
        assert "a-secret-of-the-settings" not in service.errors() + service.out.read_text()
        print(f"\n{table(link)}\n{len(journal)} events")
