"""One named event logs, counts and tells health."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from prometheus_client import generate_latest
from structlog.contextvars import clear_contextvars, get_contextvars
from structlog.testing import capture_logs

from consumer.errors import AuthenticationFailed, EndReason, Remedy
from consumer.ports.commit import IngestDeadLetter
from consumer.ports.observers.ingest_events import (
    BadEventReceived,
    ChangeEventsReceived,
    ChangesHeld,
    CommitApplied,
    CommitFailed,
    GapReceived,
    UnknownValuesReceived,
)
from consumer.ports.observers.reconcile_events import ReconcileTasksCounted
from consumer.ports.observers.service_events import (
    LeaseAcquired,
    LeaseAwaited,
    LeaseRenewed,
    ServiceStopped,
    StopRequested,
    StoreReachable,
    StoreUnreachable,
    TenureEnded,
)
from consumer.ports.observers.session_events import (
    PollAnswered,
    SessionClosed,
    SessionOpening,
    SessionStarted,
    TokenRequestFailed,
)
from consumer.ports.source import Answer, SessionOpened
from consumer.telemetry.health import Health
from consumer.telemetry.ingest_telemetry import IngestTelemetry
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.service_telemetry import ServiceTelemetry
from consumer.telemetry.session_telemetry import SessionTelemetry

A = "/data/ChangeEvents"


class Clock:
    now = 1_000

    def monotonic_ms(self):
        return self.now

    def wall_ms(self):
        return 1_700_000_000_000 + self.now


@pytest.fixture
def world():
    structlog.reset_defaults()
    clear_contextvars()
    clock, metrics = Clock(), Metrics()
    health = Health([A], 0)
    tenure = ServiceTelemetry(metrics, health, clock)
    ingest = IngestTelemetry(metrics, health, clock, (A,))
    return SimpleNamespace(
        clock=clock,
        health=health,
        tenure=tenure,
        ingest=ingest,
        sessions=SessionTelemetry(metrics, health, clock, (A,)),
        text=lambda: generate_latest(metrics.registry).decode(),
    )


def summary(**facts):
    base = {
        "number": 1, "changes": 2, "duplicates": 0, "late": 0, "ignored": 0, "events": {"run.enrolled": 1},
        "newest_commit_ms": None, "duration_ms": 4,
    }  # fmt: skip
    return CommitApplied(**{**base, **facts})


def test_a_channel_that_never_came_shows_as_zero_instead_of_being_absent(world):
    assert f'cadence_channel_acknowledged{{channel="{A}"}} 0.0' in world.text()
    assert f'cadence_change_events_received_total{{channel="{A}"}} 0.0' in world.text()
    assert "cadence_since_last_poll_seconds NaN" in world.text()


def test_an_opened_and_polled_session_makes_the_lease_holder_ready(world):
    world.tenure.observe(LeaseAcquired("pod-1"))
    world.sessions.observe(SessionOpening(1))
    assert "cadence_ready 0.0" in world.text()
    world.sessions.observe(SessionStarted(SessionOpened(1, {A: "-1"}, None, 1_000)))
    world.sessions.observe(PollAnswered(Answer(1, [], b"[]", None, 1_000)))
    world.clock.now = 3_500
    text = world.text()
    assert world.health.report(3_500).ready
    assert "cadence_ready 1.0" in text
    assert "cadence_tenure 1.0" in text
    assert f'cadence_channel_acknowledged{{channel="{A}"}} 1.0' in text
    assert "cadence_since_last_poll_seconds 2.5" in text


def test_the_servers_advice_decides_how_long_polls_may_be_silent(world):
    world.tenure.observe(LeaseAcquired("pod-1"))
    world.sessions.observe(SessionStarted(SessionOpened(1, {A: "-1"}, None, 1_000, 17_000)))
    assert world.health.report(18_000).ready
    assert world.health.report(18_001).reasons == [
        "Salesforce has not answered a poll for 17 s (at most 17 s is normal)."
    ]


def test_changes_that_were_received_and_are_not_committed_make_it_not_ready(world):
    world.tenure.observe(LeaseAcquired("pod-1"))
    world.sessions.observe(SessionStarted(SessionOpened(1, {A: "-1"}, None, 1_000)))
    world.ingest.observe(ChangeEventsReceived(A, 3))
    world.ingest.observe(ChangesHeld(3))
    assert world.health.report(21_000).ready
    assert not world.health.report(21_001).ready
    world.ingest.observe(ChangesHeld(0))
    world.ingest.observe(summary())
    assert world.health.report(21_001).ready


def test_an_ended_session_is_logged_with_what_comes_next_and_counted_by_reason(world):
    world.tenure.observe(LeaseAcquired("pod-1"))
    world.sessions.observe(SessionStarted(SessionOpened(1, {A: "-1"}, None, 1_000)))
    with capture_logs() as lines:
        world.sessions.observe(SessionClosed(1, EndReason("bad_body", "not JSON"), 500, b"<html>"))
    assert lines == [
        {
            "event": "session_ended",
            "log_level": "warning",
            "session": 1,
            "reason": "bad_body",
            "detail": "not JSON",
            "body": "<html>",
            "body_bytes": 6,
            "remedy": "retry",
            "retry_after_ms": 500,
        }
    ]
    assert 'cadence_sessions_ended_total{reason="bad_body"} 1.0' in world.text()
    assert f'cadence_channel_acknowledged{{channel="{A}"}} 0.0' in world.text()
    assert "the next attempt is in 500 ms" in world.health.report(1_000).reasons[0]


def test_a_reason_that_only_a_person_can_change_is_an_error_with_the_action(world):
    reason = EndReason("permission_denied", "403", Remedy.STOP, "Give the user the permission.", A)
    with capture_logs() as lines:
        world.sessions.observe(SessionClosed(1, reason, None, None))
    assert (lines[0]["log_level"], lines[0]["action"], lines[0]["channel"]) == (
        "error",
        "Give the user the permission.",
        A,
    )
    assert not world.health.report(1_000).live


@pytest.mark.parametrize(("permanent", "level"), [(True, "error"), (False, "warning")])
def test_a_refused_login_is_more_severe_when_trying_again_cannot_help(world, permanent, level):
    world.tenure.observe(LeaseAcquired("pod-1"))
    with capture_logs() as lines:
        world.sessions.observe(
            TokenRequestFailed(AuthenticationFailed("invalid_grant", "expired", permanent=permanent), 30_000)
        )
    assert lines[0]["log_level"] == level
    assert 'cadence_authentication_failures_total{code="invalid_grant"} 1.0' in world.text()
    assert "invalid_grant" in world.health.report(1_000).reasons[0]


def test_a_commit_counts_its_events_and_measures_the_lag(world):
    world.tenure.observe(LeaseAcquired("pod-1"))
    world.ingest.observe(ChangeEventsReceived(A, 3))
    world.ingest.observe(ChangesHeld(7))
    world.ingest.observe(
        summary(
            duplicates=2,
            late=1,
            ignored=4,
            events={"run.enrolled": 2, "step.created": 1},
            newest_commit_ms=1_700_000_000_000,
        )
    )
    text = world.text()
    for line in (
        f'cadence_change_events_received_total{{channel="{A}"}} 3.0',
        "cadence_held_changes 7.0",
        "cadence_commits_total 1.0",
        "cadence_duplicates_total 2.0",
        "cadence_late_total 1.0",
        "cadence_ignored_total 4.0",
        'cadence_journal_events_total{type="run.enrolled"} 2.0',
        'cadence_journal_events_total{type="step.created"} 1.0',
        "cadence_lag_seconds 1.0",
        "cadence_commit_duration_seconds_count 1.0",
    ):
        assert line in text


def test_failing_commits_are_logged_once_and_their_end_too(world):
    world.tenure.observe(LeaseAcquired("pod-1"))
    with capture_logs() as lines:
        world.ingest.observe(CommitFailed(5, "disk full", 100))
        world.ingest.observe(CommitFailed(5, "disk full", 200))
        world.ingest.observe(summary(number=5))
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == [
        "commit_failing",
        "commits_recovered",
    ]
    assert "cadence_commit_failures_total 2.0" in world.text()


def test_a_bad_event_is_an_error_with_the_id_of_its_dead_letter_and_without_its_bytes(world):
    dead_letter = IngestDeadLetter("id-1", A, "7", "no_header", "no ChangeEventHeader", b"secret bytes", 1)
    with capture_logs() as lines:
        world.ingest.observe(BadEventReceived(dead_letter))
    assert lines[0]["dead_letter"] == "id-1"
    assert "secret bytes" not in str(lines)
    assert f'cadence_bad_events_total{{channel="{A}",reason="no_header"}} 1.0' in world.text()


def test_a_standby_says_so_once_and_the_end_of_a_tenure_is_a_warning(world):
    with capture_logs() as lines:
        world.tenure.observe(LeaseAwaited("pod-2"))
        world.tenure.observe(LeaseAwaited("pod-2"))
        world.tenure.observe(LeaseAcquired("pod-1"))
        world.tenure.observe(TenureEnded("the lease was lost", "pod-2"))
        world.tenure.observe(LeaseAwaited("pod-2"))
    assert [line["event"] for line in lines] == ["standby", "tenure_began", "tenure_ended", "standby"]
    assert "cadence_tenure 0.0" in world.text()


def test_an_unavailable_store_is_logged_once_until_it_is_back(world):
    with capture_logs() as lines:
        world.tenure.observe(StoreUnreachable("refused"))
        world.tenure.observe(StoreUnreachable("refused"))
        world.tenure.observe(StoreReachable())
        world.tenure.observe(StoreReachable())
    assert [line["event"] for line in lines] == ["store_unavailable", "store_available"]


@pytest.mark.parametrize(("clean", "level"), [(True, "info"), (False, "warning")])
def test_a_stop_is_said_when_it_begins_and_when_it_is_done(world, clean, level):
    world.tenure.observe(LeaseAcquired("pod-1"))
    with capture_logs() as lines:
        world.tenure.observe(StopRequested(25_000))
        assert "Shutting down" in world.health.report(1_000).reasons[0]
        world.tenure.observe(ServiceStopped(clean=clean))
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("stopping", "info"),
        ("stopped", level),
    ]
    assert "cadence_tenure 0.0" in world.text()


def test_what_is_not_documented_is_counted_each_time_and_told_once(world):
    with capture_logs() as lines:
        for _ in range(3):
            world.ingest.observe(
                UnknownValuesReceived(
                    {
                        ("ActionCadenceTracker", ("Mood", None)): 3,
                        ("ActionCadenceTracker", ("State", "Hibernating" * 20)): 3,
                    }
                )
            )
    assert [(line["event"], line["field"], line.get("value")) for line in lines] == [
        ("undocumented_field", "Mood", None),
        ("undocumented_value", "State", ("Hibernating" * 20)[:80]),
    ]
    for what in ("field", "value"):
        assert (
            f'cadence_undocumented_total{{entity="ActionCadenceTracker",what="{what}"}} 9.0' in world.text()
        )


def test_what_is_told_once_does_not_fill_the_memory(world):
    with capture_logs() as lines:
        for number in range(2_000):
            world.ingest.observe(
                UnknownValuesReceived({("ActionCadenceTracker", (f"Field{number}__c", None)): 1})
            )
    assert len(lines) == 1_000


def test_another_object_on_a_channel_is_counted_each_time_and_told_once(world):
    dead_letters = [
        IngestDeadLetter(str(number), A, str(number), "unknown_entity", f"not {entity}", b"{}", 0)
        for number, entity in enumerate(("Account", "Account", "Case"))
    ]
    with capture_logs() as lines:
        for dead_letter in dead_letters:
            world.ingest.observe(BadEventReceived(dead_letter))
    assert [line["detail"] for line in lines] == ["not Account", "not Case"]
    assert f'cadence_bad_events_total{{channel="{A}",reason="unknown_entity"}} 3.0' in world.text()


# ---------------------------------------------------------------- what the lag says


def lag(world):
    (line,) = [line for line in world.text().splitlines() if line.startswith("cadence_lag_seconds ")]
    return float(line.split()[1])


def test_the_lag_grows_while_changes_wait_and_is_over_a_minute_after_the_last_one(world):
    world.tenure.observe(LeaseAcquired("pod-1"))
    assert lag(world) == 0
    world.ingest.observe(ChangeEventsReceived(A, 1))
    world.clock.now += 40_000
    assert lag(world) == 40, "nothing was committed, and it is known all the same"
    world.ingest.observe(ChangesHeld(0))
    world.ingest.observe(summary(newest_commit_ms=world.clock.wall_ms() - 90_000))
    assert lag(world) == 90
    world.clock.now += 59_000
    assert lag(world) == 90
    world.clock.now += 1_000
    assert lag(world) == 0, "a quiet org is not behind"


def test_the_lag_counts_what_ingest_has_not_even_looked_at(world):
    world.tenure.observe(LeaseAcquired("pod-1"))
    world.sessions.observe(PollAnswered(Answer(1, [{}], b"[]", None, world.clock.now)))
    world.clock.now += 30_000
    assert lag(world) == 30


def test_who_lost_the_lease_shows_nothing_of_what_only_the_holder_knows(world):
    world.tenure.observe(LeaseAcquired("pod-1"))
    world.ingest.observe(ChangeEventsReceived(A, 1))
    world.ingest.observe(ChangesHeld(3))
    world.ingest.observe(ReconcileTasksCounted({"gap": 2}))
    assert 'cadence_reconcile_tasks{reason="gap"} 2.0' in world.text()
    world.tenure.observe(TenureEnded("lost", "pod-2"))
    text = world.text()
    assert "cadence_lag_seconds NaN" in text
    assert "cadence_held_changes NaN" in text
    assert "cadence_reconcile_tasks{" not in text
    assert "cadence_tenure 0.0" in text
    world.tenure.observe(LeaseAcquired("pod-1"))
    world.ingest.observe(ReconcileTasksCounted({"gap": 1}))
    assert 'cadence_reconcile_tasks{reason="gap"} 1.0' in world.text()


def test_the_time_since_the_last_event_counts_events_and_not_empty_polls(world):
    assert "cadence_since_last_event_seconds NaN" in world.text()
    world.ingest.observe(ChangeEventsReceived(A, 1))
    world.clock.now += 7_000
    world.sessions.observe(PollAnswered(Answer(1, [], b"[]", None, world.clock.now)))
    assert "cadence_since_last_event_seconds 7.0" in world.text()


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("code", "label"), [("unreachable", "unreachable"), ("http_502", "http_502"), ("<b>x</b>", "other")]
)
def test_a_servers_text_never_becomes_a_label(world, code, label):
    world.sessions.observe(TokenRequestFailed(AuthenticationFailed(code, "x", permanent=False), 1))
    assert f'cadence_authentication_failures_total{{code="{label}"}} 1.0' in world.text()


@pytest.mark.parametrize(("channel", "reason"), [("/data/Strange", "no_header"), (A, "never heard of")])
def test_a_strange_channel_or_reason_counts_as_other(world, channel, reason):
    world.ingest.observe(BadEventReceived(IngestDeadLetter("id", channel, "7", reason, "x", b"{}", 1)))
    assert world.text().count('="other"') > 0
    assert "Strange" not in world.text()
    assert "never heard of" not in world.text()


def test_every_reason_of_a_bad_event_is_there_before_its_first_event(world):
    """An alert on an increase never sees the first event of a series that begins with it."""
    reasons = {
        reason
        for path in Path("consumer").rglob("*.py")
        for reason in re.findall(r"BadEvent\(\s*\"(\w+)\"", path.read_text())
    }
    assert len(reasons) >= 8
    for reason in {*reasons, "unreadable_answer"}:
        assert f'cadence_bad_events_total{{channel="{A}",reason="{reason}"}} 0.0' in world.text()
    assert 'cadence_sessions_ended_total{reason="daily_limit"} 0.0' in world.text()


# ---------------------------------------------------------------- who leads


def test_a_lease_that_could_not_be_renewed_in_time_is_nobodys(world):
    assert "cadence_tenure 0.0" in world.text()
    world.tenure.observe(LeaseAcquired("pod-1", world.clock.now + 15_000))
    assert "cadence_tenure 1.0" in world.text()
    world.clock.now += 15_001
    assert "cadence_tenure 0.0" in world.text(), "another replica may be at work already"
    world.tenure.observe(LeaseRenewed(world.clock.now + 15_000))
    assert "cadence_tenure 1.0" in world.text()
    world.tenure.observe(ServiceStopped(clean=True))
    assert "cadence_tenure 0.0" in world.text()


# ---------------------------------------------------------------- what lines are found by


def test_every_line_of_a_tenure_names_it_and_no_line_after(world):
    token = "0123456789abcdef0123456789abcdef"
    world.tenure.observe(LeaseAcquired("pod-1", None, token))
    assert get_contextvars() == {"tenure": "01234567"}, (
        "enough to tell tenures apart, not to commit under one"
    )
    world.tenure.observe(TenureEnded("lost", "pod-2"))
    assert get_contextvars() == {}


def test_a_gap_says_where_in_the_stream_it_stood_and_a_flood_of_them_is_a_few_lines(world):
    with capture_logs() as lines:
        for _ in range(100):
            header = SimpleNamespace(
                kind="GAP_UPDATE", entity="ActionCadenceTracker", transaction="000a", commit_ms=1
            )
            world.ingest.observe(
                GapReceived(SimpleNamespace(header=header, record_id="0qB1", channel=A, position="7"))
            )
    assert {"channel": A, "position": "7", "transaction": "000a", "record_id": "0qB1"}.items() <= lines[
        0
    ].items()
    assert len(lines) == 10
    assert 'cadence_gaps_total{kind="GAP_UPDATE"} 100.0' in world.text()
