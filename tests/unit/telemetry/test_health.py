"""Ready, or why not. The sentences are compared whole: they are the product."""

import itertools

import pytest

from consumer.telemetry.health import Health

A = "/data/ActionCadenceTrackerChangeEvent"
B = "/data/ActionCadenceStepTrackerChangeEvent"


def healthy(now_ms=0):
    health = Health([A, B], now_ms)
    health.lease_held(now_ms, "pod-1")
    health.session_opening(now_ms, 1)
    health.session_opened(now_ms, 1, [A, B])
    health.polled(now_ms)
    health.committed(now_ms)
    return health


def reasons(health, now_ms):
    report = health.report(now_ms)
    assert report.ready is (not report.reasons)
    return report.reasons


def test_ready_when_everything_is_as_it_should_be():
    report = healthy().report(10_000)
    assert report.ready
    assert report.live
    assert report.details["channels"] == {A: True, B: True}
    assert report.details["session"]["last_answer_ms"] == 10_000


@pytest.mark.parametrize(
    ("lease", "acknowledged", "answered", "commits"), list(itertools.product([True, False], repeat=4))
)
def test_ready_needs_lease_and_channels_and_answered_polls_and_commits(
    lease, acknowledged, answered, commits
):
    health = Health([A, B], 0)
    if lease:
        health.lease_held(0, "pod-1")
    else:
        health.lease_waiting(0, "pod-2")
    health.session_opening(0, 1)
    health.session_opened(0, 1, [A, B] if acknowledged else [A])
    if answered:
        health.polled(200_000)
    if not commits:
        health.commit_failing(190_000, "disk full")
    assert health.report(200_000).ready is (lease and acknowledged and answered and commits)


def test_a_new_process_says_that_it_starts():
    assert reasons(Health([A], 0), 5) == ["Starting: the lease has not been requested yet."]


def test_a_standby_is_live_and_says_who_holds_the_lease_and_nothing_else():
    health = Health([A], 0)
    health.lease_waiting(1_000, "pod-2")
    health.lease_waiting(9_000, "pod-2")
    report = health.report(61_000)
    assert report.live
    assert report.reasons == [
        "Standby for 1 min: the lease is held by pod-2; this replica takes over when that one stops."
    ]


def test_a_lost_lease_forgets_what_the_tenure_knew():
    health = healthy()
    health.commit_failing(100, "refused")
    health.lease_lost(1_000, "pod-2")
    assert reasons(health, 3_000) == [
        "The lease was lost to pod-2 2 s ago; this replica is trying to acquire it again."
    ]
    health.lease_held(4_000, "pod-1")
    assert reasons(health, 4_000) == [f"Channels {A}, {B} not acknowledged: no session has been opened yet."]


def test_a_missing_channel_is_named_with_what_is_being_done_about_it():
    health = healthy()
    health.session_ended(1_000, "unknown_client: 403::Unknown client", 5_000)
    assert reasons(health, 3_000) == [
        (
            f"Channels {A}, {B} not acknowledged: session 1 ended 2 s ago (unknown_client: 403::Unknown client); "
            "the next attempt is in 2 s."
        )
    ]
    assert reasons(health, 6_000)[0].endswith("the next attempt is due.")
    health.session_opening(6_000, 2)
    assert reasons(health, 36_000) == [
        f"Channels {A}, {B} not acknowledged: session 2 has been opening for 30 s."
    ]
    health.session_opened(37_000, 2, [A])
    assert reasons(health, 37_000) == [f"Channel {B} not acknowledged: session 2 is open without it."]


def test_an_end_without_a_next_attempt_promises_none():
    health = healthy()
    health.session_ended(0, "x: y", None)
    assert reasons(health, 1_000) == [f"Channels {A}, {B} not acknowledged: session 1 ended 1 s ago (x: y)."]


def test_polls_may_be_silent_as_long_as_salesforce_advised_and_no_longer():
    health = healthy()
    assert reasons(health, 125_000) == []
    assert reasons(health, 125_001) == [
        "Salesforce has not answered a poll for 2 min 5 s (at most 2 min 5 s is normal)."
    ]
    health.polled(125_002)
    assert reasons(health, 125_003) == []


def test_another_advice_changes_what_is_normal():
    health = healthy()
    health.poll_limit(20_000)
    assert reasons(health, 21_000) == [
        "Salesforce has not answered a poll for 21 s (at most 20 s is normal)."
    ]


def test_failing_commits_count_from_the_first_failure_and_end_with_a_success():
    health = healthy()
    health.commit_failing(10_000, "store x is unavailable: timeout")
    health.commit_failing(15_000, "store x is unavailable: connection refused")
    assert reasons(health, 20_000) == [
        "Commits have been failing for 10 s: store x is unavailable: connection refused"
    ]
    health.committed(21_000)
    assert reasons(health, 21_000) == []


def test_changes_that_wait_while_nothing_is_committed_are_a_reason_until_a_commit():
    health = healthy()
    health.received(10_000)
    health.held(0, 3)
    health.received(20_000)
    assert reasons(health, 30_000) == []
    assert reasons(health, 30_001) == ["Changes have been waiting for 20 s without a commit."]
    health.committed(31_000)
    assert reasons(health, 51_000) == [], "three are still held, and have as long again"
    assert reasons(health, 51_001) == ["Changes have been waiting for 20 s without a commit."]
    health.held(0, 0)
    health.committed(52_000)
    assert reasons(health, 120_000) == []


def test_waiting_for_a_channel_to_catch_up_is_no_stall_while_ingest_says_so():
    health = healthy()
    health.received(10_000)
    for now_ms in range(10_000, 90_000, 5_000):
        health.held(now_ms, 3, catching_up=True)
        assert reasons(health, now_ms + 5_000) == []
    health.held(90_000, 3)
    assert len(reasons(health, 105_001)) == 1, "counted from the last time that it was said"


def test_what_was_released_early_stands_in_the_details():
    health = healthy()
    assert health.report(5_000).details["commits"]["released_early"] == 0
    health.held(6_000, 2, catching_up=True)
    health.released_early(7_000, 40)
    health.released_early(8_000, 2)
    commits = health.report(9_000).details["commits"]
    assert (commits["held"], commits["catching_up"]) == (2, True)
    assert (commits["released_early"], commits["released_early_ms"]) == (42, 1_000)


def test_a_long_hold_that_was_configured_is_no_stall():
    health = Health([A], 0, commit_limit_ms=75_000)
    health.lease_held(0, "pod-1")
    health.session_opened(0, 1, [A])
    health.received(0)
    assert reasons(health, 75_000) == []
    assert len(reasons(health, 75_001)) == 1


def test_an_answer_that_nobody_takes_up_is_a_reason_even_before_its_changes_are_known():
    health = healthy()
    health.polled(10_000, 5)
    health.polled(20_000, 5)
    assert reasons(health, 25_000) == []
    assert reasons(health, 25_001) == ["Ingest has not processed what Salesforce sent 15 s ago."]
    health.held(0, 0)
    assert reasons(health, 26_000) == []


def test_an_idle_stream_is_no_stall():
    health = healthy()
    for now_ms in range(0, 1_000_000, 100_000):
        health.polled(now_ms)
        assert reasons(health, now_ms + 99_999) == []


def test_commits_that_fail_are_said_once_and_a_new_tenure_knows_nothing_of_the_old_one():
    health = healthy()
    health.received(0)
    health.commit_failing(90_000, "disk full")
    assert reasons(health, 100_000) == ["Commits have been failing for 10 s: disk full"]
    health.lease_lost(100_000)
    health.lease_held(101_000, "pod-1")
    health.session_opened(102_000, 2, [A, B])
    assert reasons(health, 103_000) == []


def test_an_unavailable_store_is_said_by_a_standby_too():
    health = Health([A], 0)
    health.lease_waiting(0, "pod-2")
    health.store_unavailable(5_000, "connection refused")
    assert reasons(health, 7_000)[0] == "The store has been unavailable for 2 s: connection refused"
    health.store_available()
    assert len(reasons(health, 8_000)) == 1


def test_failing_authentication_is_a_reason_until_a_session_opens():
    health = healthy()
    health.session_ended(1_000, "authentication_failed: no token", 31_000)
    health.authentication_failing(1_000, "invalid_grant", "user hasn't approved this consumer")
    health.authentication_failing(31_000, "invalid_grant", "user hasn't approved this consumer")
    assert reasons(health, 61_000)[0] == (
        "Salesforce has issued no access token for 1 min (invalid_grant): user hasn't approved this consumer"
    )
    health.session_opened(62_000, 2, [A, B])
    assert reasons(health, 62_000) == []


def test_a_stuck_position_is_a_reason_until_input_flows_again():
    health = healthy()
    health.input_stuck(
        A, "the answer at position 7 was unreadable three times; its bytes are in dead-letters"
    )
    assert reasons(health, 1) == [
        f"Channel {A} is stuck: the answer at position 7 was unreadable three times; its bytes are in dead-letters"
    ]
    health.input_recovered(A)
    assert reasons(health, 2) == []


def test_a_service_that_gave_up_is_not_live_and_says_what_to_change():
    health = healthy()
    health.stopped("Salesforce refuses: no permission.", "Give the user the permission set.")
    report = health.report(1)
    assert not report.live
    assert (
        report.reasons[0] == "Stopped: Salesforce refuses: no permission. Give the user the permission set."
    )


def test_a_stopping_service_is_not_ready_and_still_live():
    health = healthy()
    health.stopping()
    report = health.report(1)
    assert report.live
    assert report.reasons == ["Shutting down: accepted work is being finished, nothing new is read."]


def test_details_tell_how_long_each_state_has_lasted():
    health = healthy()
    health.session_ended(10_000, "poll_timeout: silent", 14_000)
    details = health.report(12_000).details
    assert details["uptime_ms"] == 12_000
    assert details["lease"] == {"state": "held", "holder": "pod-1", "since_ms": 12_000}
    assert details["session"] == {
        "number": 1,
        "state": "ended",
        "since_ms": 2_000,
        "last_answer_ms": None,
        "ended": "poll_timeout: silent",
        "next_attempt_ms": 2_000,
    }
    assert details["commits"] == {
        "count": 1,
        "last_ms": 12_000,
        "failing": None,
        "held": 0,
        "catching_up": False,
        "released_early": 0,
        "released_early_ms": None,
    }
