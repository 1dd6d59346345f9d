"""The example that closes a loop, against the sandbox's actions."""

import importlib
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import structlog
from pydantic import SecretStr, ValidationError

from consumer import Context, ErrorDetail, LifecycleEvent, Retry
from consumer.clock import SystemClock
from consumer.salesforce.action_sender import RestActionSender
from consumer.salesforce.grants import ClientCredentials
from consumer.salesforce.rest import RestClient
from consumer.salesforce.token_cache import TokenCache
from consumer.salesforce.token_endpoint import TokenEndpoint
from consumer.sandbox import TRACKER, Sandbox, SandboxOptions
from handlers.remove_bounced import RemoveBounced
from tests.support.builders.readme import HANDLERS, blocks


@asynccontextmanager
async def bounced(handler=None, **settings):
    """A sandbox, its only run, and a function that hands the handler a failure of it."""
    async with Sandbox(SandboxOptions()) as sandbox:
        clock, known = SystemClock(), sandbox.credentials
        grant = ClientCredentials(known.client_id, SecretStr(known.client_secret), sandbox.url)
        rest = RestClient(TokenCache(grant, TokenEndpoint(clock)), api_version="66.0")
        context = Context(
            handler="remove_bounced",
            log=structlog.get_logger(),
            http=lambda: None,
            action_sender=RestActionSender(rest, api_version="66.0", clock=clock, rate=1_000.0),
        )
        if handler is None:
            handler = RemoveBounced()
            await handler.open(RemoveBounced.Settings(**settings), context)
        run = sandbox.world.enrol("Inbound Demo Request")

        async def failed(code):
            event = LifecycleEvent(
                id="e",
                type="step.failed",
                time=datetime.now(UTC),
                tracker_id=run,
                error=None if code is None else ErrorDetail(code=code),
            )
            await handler.handle(event, context)

        yield sandbox, run, failed
        await rest.aclose()


async def test_a_run_whose_mail_bounced_is_removed_with_its_disposition():
    async with bounced() as (sandbox, run, failed):
        sandbox.world.fail(run, "TARGET_EMAIL_BOUNCED")
        await failed("TARGET_EMAIL_BOUNCED")
        tracker = sandbox.org.records[TRACKER][run]
        assert (tracker["State"], tracker["CompletionReason"], tracker["CompletionDisposition"]) == (
            "Complete",
            "ManuallyRemoved",
            "Bad Data",
        )
        await failed("TARGET_EMAIL_BOUNCED")
        assert sandbox.actions.calls["removeTargetFromSalesCadence"] == 1, "a run that is over is left alone"


async def test_other_failures_are_left_alone():
    async with bounced() as (sandbox, _, failed):
        for code in ("RETRY_LATER", None):
            await failed(code)
        assert not sandbox.actions.calls


async def test_codes_and_disposition_are_settings():
    async with bounced(codes=["INVALID_TARGET_EMAIL"], disposition="Disqualified") as (sandbox, run, failed):
        await failed("TARGET_EMAIL_BOUNCED")
        assert sandbox.world.open_runs == (run,)
        await failed("INVALID_TARGET_EMAIL")
        assert sandbox.org.records[TRACKER][run]["CompletionDisposition"] == "Disqualified"
    with pytest.raises(ValidationError):
        RemoveBounced.Settings(disposition="Success")


async def test_a_removal_that_salesforce_refuses_is_tried_again(monkeypatch):
    async with bounced() as (sandbox, run, failed):
        monkeypatch.setattr(sandbox.world, "remove", _locked)
        with pytest.raises(
            Retry, match=r"the run could not be removed: UNKNOWN_EXCEPTION: .*state is Locked"
        ):
            await failed("TARGET_EMAIL_BOUNCED")
        assert sandbox.world.open_runs == (run,)


async def test_the_example_of_the_page_does_the_same(tmp_path, monkeypatch):
    (source,) = [
        block for block in blocks(HANDLERS, "python") if "ctx.actions" in block and "# test_" not in block
    ]
    (tmp_path / "page_example.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    example = importlib.import_module("page_example").remove_bounced
    async with bounced(example) as (sandbox, run, failed):
        for code in ("RETRY_LATER", "TARGET_EMAIL_BOUNCED", "TARGET_EMAIL_BOUNCED"):
            await failed(code)
        assert sandbox.org.records[TRACKER][run]["CompletionDisposition"] == "Bad Data"
        assert sandbox.actions.calls["removeTargetFromSalesCadence"] == 1


def _locked(run, **_):
    from consumer.sandbox import IllegalTransition

    raise IllegalTransition(action="remove", record_id=run, state="Locked", allowed=["Running"])
