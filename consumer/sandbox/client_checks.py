"""Checks of each message: the token, the session, and the client's cookies.

The checks run in this order, because that is the order in which Salesforce's errors mask each other: an invalid token
hides an unknown client, an unknown client hides a missing cookie. A handshake needs only the token and creates a
session and its cookies.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final

from consumer.sandbox import bayeux
from consumer.sandbox.bayeux import Message
from consumer.sandbox.faults import Fault, Faults
from consumer.sandbox.sessions import StreamingSession, StreamingSessions

BROWSER_COOKIE: Final = "BAYEUX_BROWSER"
ROUTE_COOKIE: Final = "sfdc-stream"

# Maps an Authorization header to its user's id, or to None if the token is not valid.
Authenticate = Callable[[str], str | None]


@dataclass(slots=True)
class RequestContext:
    """An HTTP request: its credentials and cookies, and the cookies to set."""

    authorization: str | None
    cookies: dict[str, str]
    now: float
    set_cookies: list[str] = field(default_factory=list)
    fault: Fault | None = None


class ClientChecks:
    """Accept or refuse messages."""

    def __init__(self, sessions: StreamingSessions, *, faults: Faults, authenticate: Authenticate) -> None:
        self._sessions = sessions
        self._faults = faults
        self._authenticate = authenticate

    def has_valid_token(self, context: RequestContext) -> bool:
        """Return True while the request's token is valid."""
        return self._authenticate(context.authorization or "") is not None

    def unauthenticated(self, message: Message, context: RequestContext) -> Message | None:
        """Return the refusal of a message whose token is missing or not valid, else None."""
        if context.authorization is None:
            return bayeux.unauthenticated(message, bayeux.AUTHENTICATION_REQUIRED)
        if self._authenticate(context.authorization) is None:
            return bayeux.unauthenticated(message, bayeux.AUTHENTICATION_INVALID)
        return None

    def handshake(self, message: Message, context: RequestContext) -> Message:
        """Create a session and its cookies, or refuse."""
        fault = self._faults.injected("refuse_handshake")
        if fault is not None:
            self._faults.count_fault("refuse_handshake")
            return bayeux.handshake_refused(message, str(fault.details.get("reason", bayeux.TOO_BUSY)))
        if "long-polling" not in message.get("supportedConnectionTypes", ["long-polling"]):
            error = bayeux.invalid_connection_type(message.get("supportedConnectionTypes"))
            return bayeux.refused(message, error)
        user_id = self._authenticate(context.authorization or "") or ""
        current_route = context.cookies.get(ROUTE_COOKIE)
        route = self._sessions.route(context.now, current_route)
        browser = context.cookies.get(BROWSER_COOKIE)
        session = self._sessions.create(user_id, context.now, browser=browser, route=route)
        if browser is None:
            context.set_cookies.append(f"{BROWSER_COOKIE}={session.browser}; Path=/; HttpOnly")
        if route != current_route:
            context.set_cookies.append(self._route_cookie(route))
        return bayeux.handshake_ok(message, session.client_id)

    def _route_cookie(self, route: str) -> str:
        """Format the cookie as captured, but usable over plain HTTP.

        `Secure` and `SameSite=None` are left out.
        """
        expires = formatdate(time.time() + self._sessions.route_lifetime, usegmt=True)
        return f"{ROUTE_COOKIE}={route}; path=/; Expires={expires}"

    def session(self, message: Message, context: RequestContext) -> StreamingSession | Message:
        """Return the message's session, or the reply that refuses it."""
        client_id = message.get("clientId")
        if client_id is None and message.get("channel") == "/meta/subscribe":
            return bayeux.refused(message, bayeux.NO_HANDSHAKE)
        session = self._sessions.find(client_id, context.now)
        if session is not None and context.now >= session.route_until:
            self._sessions.forget(session)
            session = None
        if session is None:
            return self.unknown(message, context)
        for cookie in (BROWSER_COOKIE, ROUTE_COOKIE):
            if cookie not in context.cookies:
                return bayeux.refused(message, bayeux.no_cookie(session.client_id, cookie))
        same_browser = context.cookies[BROWSER_COOKIE] == session.browser
        if not same_browser or not self._sessions.route_is_valid(context.cookies[ROUTE_COOKIE], context.now):
            return self.unknown(message, context)
        if self._authenticate(context.authorization or "") != session.user_id:
            return bayeux.refused(message, bayeux.WRONG_USER)
        return session

    def unknown(
        self, message: Message, context: RequestContext, error: str = bayeux.UNKNOWN_CLIENT
    ) -> Message:
        """Refuse a client without a session, and set a new routing cookie, as observed."""
        context.set_cookies.append(self._route_cookie(self._sessions.route(context.now)))
        return bayeux.unknown_client(message, error)
