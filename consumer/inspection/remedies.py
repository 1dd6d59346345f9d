"""Remedies: from Salesforce's error codes to an operator's action.

The service's own reaction to the end of a session is in ``consumer.salesforce.error_catalogue``; it retries most of them. An operator who
asks why it does not connect wants to know what to change.
"""

from __future__ import annotations

from typing import Final

from consumer.errors import AuthenticationFailed, EndReason, Remedy
from consumer.inspection.findings import FailureKind
from consumer.salesforce.error_catalogue import PERMISSION
from consumer.salesforce.rest import RestError

__all__ = ["rest_remedy", "session_remedy", "sign_in_remedy"]

_TRY_LATER: Final = "Try again in a few minutes; see https://status.salesforce.com for known incidents."
_CHECK_NETWORK: Final = "Check the host name, DNS, proxy and firewall between this machine and Salesforce."

_SIGN_IN: Final = {
    "unreachable": f"{_CHECK_NETWORK} salesforce.login_url has the address.",
    "invalid_client_id": "Check salesforce.client_id: it is the consumer key of the external client app or connected app.",
    "invalid_client": "Check salesforce.client_secret, and that the app is in this org.",
    "invalid_client_credentials": "Check salesforce.client_secret, and that the app is in this org.",
    "unauthorized_client": "Allow the flow of salesforce.auth in the app's OAuth settings.",
    "unsupported_grant_type": "Allow the flow of salesforce.auth in the app's OAuth settings, and use the org's My Domain as login_url.",
    "invalid_app_access": "Give the user access to the app, by its permission sets or profiles.",
    "inactive_user": "Activate the integration user, or use another user.",
    "inactive_org": "The org is locked or deleted: check salesforce.login_url.",
    "access_token_refused": "Put a new token into salesforce.access_token, or better, use a flow that can renew it.",
    "store_unavailable": "The rotated refresh token is kept in the store: make the store reachable first.",
    "kept_token_unreadable": "",
    "bad_settings": "",
}

_GRANTS: Final = {
    "jwt": "Check salesforce.username, the certificate of the app, that the user is pre-authorised for it, and this machine's clock.",
    "client_credentials": "Enable the client credentials flow in the app, name a run-as user, and use the org's My Domain as login_url.",
    "refresh_token": "Sign in again and put the new token into salesforce.refresh_token.",
    "password": "Check salesforce.username and salesforce.password (with the security token), and that the flow is allowed in the org.",
}
"""OAuth flow to the usual cause of ``invalid_grant`` in it."""

_SESSION: Final = {
    "connect_failed": _CHECK_NETWORK,
    "connection_lost": _CHECK_NETWORK,
    "tls_failed": "Check the certificate, and whether a proxy on the way presents one of its own.",
    "daily_limit": "The org has used up its event deliveries: wait until the rolling 24 h have room again, or buy more.",
    "too_many_connections": "Stop other CometD clients of the org, or buy a higher limit.",
    "too_many_subscribers": "Stop other CometD clients of the org, or buy a higher limit.",
    "authentication_invalid": "Check that the app has the scope api and that the user may use the API.",
    "handshake_denied": "Check that the app has the scope api and that the user may use the API.",
    "http_401": "Check that the app has the scope api and that the user may use the API.",
    "http_403": "Check the user's login IP ranges and permission to use the API.",
    "subscribe_denied": "Check the channel's name (names distinguish case), and give the user 'View All Data'.",
    "not_acknowledged": "Check the channel's name (names distinguish case), and give the user 'View All Data'.",
}

_REST: Final = {
    "unreachable": (_CHECK_NETWORK, FailureKind.UNAVAILABLE),
    "INVALID_TYPE": (
        "Enable Sales Engagement in the org, and give the integration user read access to the object.",
        FailureKind.NOT_PERMITTED,
    ),
    "INSUFFICIENT_ACCESS": (
        "Give the integration user 'View All Records' on the object in a permission set.",
        FailureKind.NOT_PERMITTED,
    ),
    "API_DISABLED_FOR_ORG": (
        "Give the integration user the permission 'API Enabled'; the org's edition must have the API.",
        FailureKind.NOT_PERMITTED,
    ),
    "INVALID_SESSION_ID": (
        "Check that the app has the scope api and that the user may use the API.",
        FailureKind.NOT_PERMITTED,
    ),
    "REQUEST_LIMIT_EXCEEDED": (
        "The org has used up its API requests: wait until the rolling 24 h have room again, or buy more.",
        FailureKind.UNAVAILABLE,
    ),
    "NOT_FOUND": ("Set salesforce.api_version to a version that the org supports.", FailureKind.OTHER),
}


def sign_in_remedy(error: AuthenticationFailed, flow: str) -> tuple[str, FailureKind]:
    """Return action and kind of failure when this OAuth flow gets no token."""
    action = _SIGN_IN.get(error.code)
    if action is None and error.code == "invalid_grant":
        action = _GRANTS.get(flow)
    if action is None:
        other = "Check salesforce.login_url: it must be that of Salesforce or of the org's My Domain."
        action = other if error.code.startswith("http_4") or error.permanent else _TRY_LATER
    return action, FailureKind.NOT_PERMITTED if error.permanent else FailureKind.UNAVAILABLE


def session_remedy(reason: EndReason) -> tuple[str, FailureKind]:
    """Return action and kind of failure when a channel cannot be subscribed."""
    action = reason.action or _SESSION.get(reason.code, _TRY_LATER)
    if reason.code in (PERMISSION, "subscribe_denied"):
        return action, FailureKind.NOT_PERMITTED
    return action, FailureKind.OTHER if reason.remedy is Remedy.STOP else FailureKind.UNAVAILABLE


def rest_remedy(error: RestError) -> tuple[str, FailureKind]:
    """Return action and kind of failure when REST refuses."""
    if error.code in _REST:
        return _REST[error.code]
    if error.status in (401, 403):
        return _REST["INSUFFICIENT_ACCESS"]
    return _TRY_LATER, FailureKind.UNAVAILABLE if error.status >= 500 else FailureKind.OTHER
