"""Every row of the error catalogue, with the texts that were seen on the wire."""

import time

import pytest

from consumer.errors import Remedy
from consumer.salesforce.error_catalogue import (
    Stage,
    advice_reason,
    http_reason,
    one_line,
    reply_reason,
)

TRACKER = "/data/ActionCadenceTrackerChangeEvent"
BUSY = "503::Server is too busy.  Please try your request again later."
CROWD = (
    "403::To protect all customers from excessive use and Denial of\n         Service attacks, we limit the number of "
    "simultaneous connections per server.  \n         Your request has been denied because this limit has been exceeded."
)
REPLAY = (
    "400::The replayId {1} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to "
    "replay only new events."
)


def failed(error=None, cause=None, **more):
    message = {"channel": "/meta/x", "successful": False, **more}
    if error is not None:
        message["error"] = error
    if cause is not None:
        message["ext"] = {"sfdc": {"failureReason": cause}, "replay": True, "payload.format": True}
    return message


@pytest.mark.parametrize(
    ("stage", "error", "cause", "code", "remedy"),
    [
        (
            "handshake",
            "400::API version in the URI is mandatory. URI format: '/cometd/65.0'",
            None,
            "api_version",
            "stop",
        ),
        (
            "handshake",
            "400::Unsupported API version. Only API versions '37.0' and later are supported. URI format: '/cometd/66.0'",
            None,
            "api_version",
            "stop",
        ),
        ("connect", "400::Invalid connection type {websocket}", None, "connection_type", "stop"),
        (
            "subscribe",
            f"400::The channel you requested to subscribe to doesn't exist {{{TRACKER}}}",
            None,
            "channel_missing",
            "stop",
        ),
        ("subscribe", "400::Channel name not specified", None, "channel_name", "stop"),
        (
            "subscribe",
            "400::Channel subscriptions must start with a leading '/'",
            None,
            "channel_name",
            "stop",
        ),
        (
            "connect",
            "400::Client abc has established a session, but no BAYEUX_BROWSER cookie present",
            None,
            "cookie_missing",
            "retry",
        ),
        (
            "connect",
            "400::Authenticated user id does not match the session's user id",
            None,
            "session_user_mismatch",
            "retry",
        ),
        ("subscribe", REPLAY, None, "replay_invalid", "reconcile"),
        ("subscribe", REPLAY.replace(".  Please", ". Please"), None, "replay_invalid", "reconcile"),
        ("connect", "401::Authentication invalid", None, "authentication_invalid", "reauthenticate"),
        (
            "handshake",
            "403::Handshake denied",
            "401::Authentication invalid",
            "authentication_invalid",
            "reauthenticate",
        ),
        (
            "handshake",
            "403::Handshake denied",
            "401::Request requires authentication",
            "authentication_invalid",
            "reauthenticate",
        ),
        ("handshake", "403::Handshake denied", None, "handshake_denied", "reauthenticate"),
        ("handshake", "403::Handshake denied", CROWD, "too_many_connections", "retry"),
        (
            "handshake",
            "403::Organization concurrent user limit exceeded",
            None,
            "too_many_subscribers",
            "retry",
        ),
        ("connect", "403::Organization total events daily limit exceeded", None, "daily_limit", "wait_quota"),
        ("subscribe", "403::Client has not completed handshake", None, "handshake_missing", "retry"),
        ("subscribe", "403::Restricted channel", None, "permission_denied", "stop"),
        (
            "subscribe",
            "403::User not allowed to subscribe CDC without View All Data permissions",
            None,
            "permission_denied",
            "stop",
        ),
        ("subscribe", f"403::Cannot create channel {{{TRACKER}}}", None, "permission_denied", "stop"),
        ("connect", "403::Unknown client", None, "unknown_client", "retry"),
        ("connect", "402::Unknown client", None, "unknown_client", "retry"),
        ("connect", "402::session_unknown", None, "unknown_client", "retry"),
        ("connect", "413 Maximum Request Size Exceeded", None, "request_too_large", "retry"),
        ("connect", "401::Authentication invalid", BUSY, "server_busy", "retry"),
        ("handshake", "403::Handshake denied", BUSY, "server_busy", "retry"),
        ("subscribe", "403:denied_by_security_policy:subscribe_denied", BUSY, "server_busy", "retry"),
        ("subscribe", "403:denied_by_security_policy:create_denied", None, "subscribe_denied", "retry"),
        ("subscribe", "403:denied_by_security_policy:subscribe_denied", None, "subscribe_denied", "retry"),
        ("connect", "417::A failure of next year", None, "unknown_error", "retry"),
        ("connect", "401::Authentication invalid", "417::A cause of next year", "unknown_error", "retry"),
    ],
)
def test_each_text_of_the_catalogue_has_its_remedy(stage, error, cause, code, remedy):
    reason = reply_reason(Stage(stage), failed(error, cause), channel=TRACKER, position="1")
    assert (reason.code, reason.remedy) == (code, Remedy(remedy))
    assert one_line(cause or error) in reason.detail
    assert "\n" not in reason.detail
    assert bool(reason.action) is (reason.remedy is Remedy.STOP)
    assert reason.position == ("1" if reason.remedy is Remedy.RECONCILE else None)


def test_a_missing_channel_says_what_to_select_in_setup():
    error = "400::The channel you requested to subscribe to doesn't exist {x}"
    reason = reply_reason(Stage.SUBSCRIBE, failed(error), channel=TRACKER)
    assert reason.channel == TRACKER
    assert "Change Data Capture is not enabled for ActionCadenceTracker:" in reason.action


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ("/data/Expense__ChangeEvent", "'View All Records' on Expense__c,"),
        ("/data/Sales__chn", "on the objects of /data/Sales__chn,"),
    ],
)
def test_a_missing_permission_names_the_object(channel, words):
    assert words in reply_reason(Stage.SUBSCRIBE, failed("403::Restricted channel"), channel=channel).action


def test_a_refused_position_that_nobody_sent_is_only_tried_again():
    reason = reply_reason(Stage.CONNECT, failed(REPLAY))
    assert (reason.code, reason.remedy) == ("replay_invalid", Remedy.RETRY)


@pytest.mark.parametrize(
    ("advice", "code"),
    [
        ({"reconnect": "handshake"}, "rehandshake_advised"),
        ({"reconnect": "none"}, "unknown_error"),
        (None, "unknown_error"),
        ("x", "unknown_error"),
    ],
)
def test_a_failure_without_words_is_judged_by_its_advice(advice, code):
    assert reply_reason(Stage.CONNECT, failed(advice=advice)).code == code


@pytest.mark.parametrize(
    "ext", [None, [], {"sfdc": None}, {"sfdc": {"failureReason": 7}}, {"sfdc": {"failureReason": " "}}]
)
def test_an_unusable_failure_reason_leaves_the_error_to_decide(ext):
    assert reply_reason(Stage.CONNECT, {**failed("403::Unknown client"), "ext": ext}).code == "unknown_client"


@pytest.mark.parametrize(
    ("advice", "code"), [("retry", None), ("handshake", "rehandshake_advised"), ("none", "reconnect_refused")]
)
def test_a_successful_reply_ends_the_session_when_it_advises_so(advice, code):
    reason = advice_reason(Stage.CONNECT, {"successful": True, "advice": {"reconnect": advice}})
    assert (reason.code if reason else None) == code


def test_an_api_version_error_counts_whatever_its_http_status():
    body = [
        {
            "channel": "/meta/handshake",
            "error": "400::API version in the URI is mandatory. URI format: '/cometd/65.0'",
        }
    ]
    reason = http_reason(Stage.HANDSHAKE, 400, "application/json", body, "")
    assert (reason.code, reason.remedy) == ("api_version", Remedy.STOP)


def test_a_busy_server_is_busy_also_behind_http_403():
    reason = http_reason(
        Stage.CONNECT, 403, "application/json", failed("401::Authentication invalid", BUSY), ""
    )
    assert (reason.code, reason.remedy) == ("server_busy", Remedy.RETRY)


def test_an_unknown_body_leaves_the_status_to_decide():
    assert (
        http_reason(Stage.CONNECT, 401, "text/html", ["x", {"error": "strange"}], "<html>").code == "http_401"
    )
    assert http_reason(Stage.CONNECT, 500, "", None, "").detail == "connect: HTTP 500, empty body"


@pytest.mark.parametrize("text", ["400::the replayId ", "has established a session, but no ", " limit "])
def test_a_text_without_end_is_judged_by_its_beginning(text):
    began = time.process_time()
    reply_reason(Stage.CONNECT, {"successful": False, "error": text * 100_000})
    reply_reason(Stage.CONNECT, {"successful": False, "ext": {"sfdc": {"failureReason": text * 100_000}}})
    http_reason(Stage.CONNECT, 400, "", [{"errorCode": "X", "message": text * 100_000}], "")
    assert time.process_time() - began < 2, "some patterns take the square of what they search"


def test_long_texts_are_cut():
    assert len(reply_reason(Stage.CONNECT, failed("x" * 10_000)).detail) < 320
