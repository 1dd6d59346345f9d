"""The webhook: verified and parsed by the public libraries of both standards, against a receiver on a real socket."""

import asyncio
import base64
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import standardwebhooks
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat

from consumer import LifecycleEvent
from consumer.errors import SettingsError

OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()


class Receiver:
    def __init__(self):
        self.answers, self.got, self.url = [], [], ""

    async def answer(self, request):
        self.got.append((dict(request.headers), await request.read()))
        status, headers = self.answers.pop(0) if self.answers else (204, {})
        if status is None:
            request.transport.abort()
            return web.Response()
        return web.Response(status=status, headers=headers)


@pytest.fixture
async def receiver():
    one = Receiver()
    app = web.Application()
    app.router.add_post("/hook", one.answer)
    app.router.add_post("/elsewhere", one.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield one
    await runner.cleanup()


@pytest.fixture
def kit(receiver, feed):
    def make(*, secrets=(OLD,), section=None, **settings):
        settings = {"url": receiver.url, "secrets": list(secrets), **settings}
        return feed("webhook", settings=settings, **(section or {}))

    return make


async def test_the_signature_is_that_of_the_standard_and_the_body_a_cloud_event(receiver, kit, new_run):
    run = new_run().enrol().begin_step()
    report = await kit().deliver(run.events)
    assert report.delivered == run.events
    for (headers, body), event in zip(receiver.got, run.events, strict=True):
        standardwebhooks.Webhook(OLD).verify(body, headers)
        parsed = from_structured(HTTPMessage(headers=headers, body=body), JSONFormat())
        assert parsed.get_type() == f"cadence.{event.type}"
        assert parsed.get_id() == event.id
        assert parsed.get_subject() == run.tracker_id
        assert parsed.get_source() == f"/salesforce/{event.id.partition('/')[0]}"
        assert parsed.get_time() == event.time
        assert LifecycleEvent.model_validate(parsed.get_data()) == event


async def test_a_wrong_secret_or_a_changed_body_does_not_verify(receiver, kit, new_run):
    await kit().deliver(new_run().enrol().events[:1])
    headers, body = receiver.got[0]
    for secret, data in ((NEW, body), (OLD, body + b" ")):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(secret).verify(data, headers)


async def test_while_a_secret_is_replaced_both_verify(receiver, kit, new_run):
    await kit(secrets=f"{NEW},{OLD}".split(",")).deliver(new_run().enrol().events[:1])
    headers, body = receiver.got[0]
    standardwebhooks.Webhook(OLD).verify(body, headers)
    standardwebhooks.Webhook(NEW).verify(body, headers)


async def test_every_attempt_and_every_life_has_the_same_id(receiver, kit, new_run):
    receiver.answers = [(500, {}), (None, {}), (204, {})]
    event = new_run().enrol().events[0]
    report = await kit().deliver([event], kills=[3])
    assert report.delivered == [event]
    assert len(receiver.got) == 4
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_the_receiver_says_when_to_come_again(receiver, kit, new_run, status):
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    receiver.answers = [(status, {"Retry-After": "7"}), (status, {"Retry-After": later})]
    report = await kit().deliver(new_run().enrol().events[:1])
    assert timedelta(minutes=9, seconds=50) < report.waited <= timedelta(minutes=10, seconds=8)
    assert len(report.delivered) == 1


@pytest.mark.parametrize(
    "said", ["soon", "-5", "Mon, 99 Foo 2026", "9" * 30, "31 Jan 2026 9:30 +99999999999999"]
)
async def test_a_senseless_retry_after_stops_nothing(receiver, kit, new_run, said):
    receiver.answers = [(429, {"Retry-After": said})]
    report = await kit().deliver(new_run().enrol().events[:1])
    assert len(report.delivered) == 1
    assert report.waited <= timedelta(days=1)


@pytest.mark.parametrize("status", [500, 502, 504, 408, 425, None])
async def test_what_may_pass_is_tried_again(receiver, kit, new_run, status):
    receiver.answers = [(status, {})]
    report = await kit().deliver(new_run().enrol().events[:1])
    assert len(report.delivered) == 1
    assert [attempt.error is None for attempt in report.attempts] == [False, True]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_what_would_be_refused_again_is_a_dead_letter_at_once(receiver, kit, new_run, status):
    receiver.answers = [(status, {})]
    run = new_run().enrol()
    report = await kit().deliver(run.events)
    assert report.dead_letters == [(run.events[0], f"the receiver answered {status}")]
    assert report.delivered == run.events[1:]


async def test_redirects_are_not_followed(receiver, kit, new_run):
    receiver.answers = [(307, {"Location": receiver.url.replace("hook", "elsewhere")})]
    report = await kit().deliver(new_run().enrol().events[:1])
    assert "redirects are not followed" in report.dead_letters[0][1]
    assert len(receiver.got) == 1


async def test_gone_stops_the_handler_and_loses_nothing(receiver, kit, new_run):
    receiver.answers = [(204, {}), (410, {})]
    run = new_run().enrol().pause()
    report = await kit().deliver(run.events)
    assert "410" in report.disabled
    assert report.delivered == run.events[:1]
    assert report.dead_letters == []
    assert len(receiver.got) == 2


async def test_a_receiver_that_does_not_answer_in_time_is_asked_again(feed, new_run):
    release = asyncio.Event()

    @asynccontextmanager
    async def silent():
        async def wait(request):
            await release.wait()
            return web.Response()

        app = web.Application()
        app.router.add_post("/", wait)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        release.set()
        await runner.cleanup()

    async with silent() as url:
        kit = feed("webhook", settings={"url": url, "secrets": [OLD], "timeout": 0.05}, max_attempts=2)
        report = await kit.deliver(new_run().enrol().events[:1])
    assert report.dead_letters[0][1] == "no answer within 0.05 s"
    assert len(report.attempts) == 2


async def test_nothing_listens_and_the_reason_does_not_tell_the_address(feed, new_run, unused_tcp_port):
    kit = feed(
        "webhook",
        settings={"url": f"http://127.0.0.1:{unused_tcp_port}/token-in-path", "secrets": [OLD]},
        max_attempts=1,
    )
    report = await kit.deliver(new_run().enrol().events[:1])
    assert "cannot be reached" in report.dead_letters[0][1]
    assert "token" not in report.dead_letters[0][1]


async def test_own_headers_are_sent(receiver, kit, new_run):
    await kit(headers={"Authorization": "Bearer x"}).deliver(new_run().enrol().events[:1])
    assert receiver.got[0][0]["Authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"secrets": []}, "secrets"),
        ({"secrets": ["short"]}, "base64|bytes"),
        ({"secrets": ["not base64 !!"]}, "base64"),
        ({"url": "ftp://x"}, "url"),
        ({"headers": {"Webhook-Id": "x"}}, "set by the handler"),
        ({"headers": {"X": "a\r\nb"}}, "line breaks"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_settings_are_named_without_telling_secrets(feed, settings, said):
    given = {"url": "http://127.0.0.1/", "secrets": [OLD], **settings}
    with pytest.raises(SettingsError, match=said) as error:
        feed("webhook", settings=given)
    assert "not base64 !!" not in str(error.value)


def test_secrets_come_as_one_text_too_and_are_not_shown():
    from handlers.webhook import Webhook

    made = Webhook.Settings(url="http://127.0.0.1/", secrets=f"{OLD}, {NEW}", headers={"A": "secret-value"})
    assert len(made.secrets) == 2
    assert OLD[6:] not in repr(made)
    assert "secret-value" not in repr(made)
