"""CometD client on ``aiosfstream``: one request at a time, without its recovery.

This is the only module that imports ``aiosfstream`` and ``aiocometd``. They provide the protocol base - message templates, message ids, the
handshake, the extension points for authentication and replay, the structure of a client and its transport - and none of their behaviour
*after* a failure is used. Unmodified, they reconnect and subscribe again inside one client, with an unchecked answer, a stale cookie and a
queue that is consumed event by event; each of these lost events in trials. Parts that are not used, and their replacements:

* the connect loop and its retries: :class:`SingleRequestTransport` has none, the caller awaits each poll;
* signing in and sending again after any 401 or 403, even from a full server: a request is sent once;
* the queue of messages with ``receive()``: an answer is one value, parsed as a whole by :mod:`consumer.salesforce.bayeux`;
* timeouts guessed from advice, or none: every request has its own;
* replay fallbacks and stored markers: the store has the positions, and options are sent as given.

Documented by Salesforce and relied on: data messages precede the connect reply; a request body may have 32,768 bytes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import orjson
from aiocometd.constants import (
    CONNECT_MESSAGE,
    DISCONNECT_MESSAGE,
    SUBSCRIBE_MESSAGE,
    ConnectionType,
    MetaChannel,
)
from aiocometd.transports.base import TransportBase
from aiocometd.transports.long_polling import LongPollingTransport
from aiosfstream.auth import AuthenticatorBase
from aiosfstream.client import COMETD_PATH, Client, ReplayMarkerStoragePolicy
from aiosfstream.replay import ReplayMarker, ReplayMarkerStorage

from consumer.clock import Clock
from consumer.errors import EndReason, SessionFault
from consumer.safe_json import parse
from consumer.salesforce.bayeux import (
    BadBody,
    Exchange,
    http_date_ms,
    parse_answer,
    parse_elements,
    read_elements,
)
from consumer.salesforce.error_catalogue import (
    Stage,
    http_reason,
    one_line,
    reply_reason,
)
from consumer.salesforce.http_exchange import ACCEPT_ENCODING, HttpFault, read_body
from consumer.salesforce.token_endpoint import AccessToken

__all__ = ["CometdClient", "RequestLimits", "SingleRequestTransport"]

_FAREWELL_BYTES = 64 * 1024
_ERROR_BYTES = 256 * 1024
"""Maximum size of an error body that is parsed."""
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})")


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits of time and size per request; no request waits forever.

    Attributes:
        connect_ms: timeout of a TCP and TLS connection.
        handshake_ms: timeout of a handshake, and of the first connect, which requests an immediate answer.
        subscribe_ms: timeout of subscriptions.
        poll_ms: time for which the server holds a poll, unless its advice says otherwise.
        poll_margin_ms: time added to the advised or requested one before a poll counts as unanswered.
        disconnect_ms: timeout of a disconnect.
        answer_bytes: largest answer that is read; documented buffers of Salesforce's clients begin at 10 MB.
        request_bytes: largest request that is sent; documented: 32,768.
    """

    connect_ms: int = 10_000
    handshake_ms: int = 30_000
    subscribe_ms: int = 30_000
    poll_ms: int = 110_000
    poll_margin_ms: int = 15_000
    disconnect_ms: int = 2_000
    answer_bytes: int = 32 * 1024 * 1024
    request_bytes: int = 32_768


class _SharedTokenAuthenticator(AuthenticatorBase):
    """The library's authenticator, with the token that REST uses too."""

    def __init__(self, token: AccessToken) -> None:
        super().__init__()
        self._token = token

    async def _authenticate(self) -> tuple[int, dict[str, Any]]:
        secret = self._token.value.get_secret_value()
        return 200, {
            "access_token": secret,
            "token_type": "Bearer",
            "instance_url": self._token.instance_url,
        }


class _ResumeExtension(ReplayMarkerStorage):
    """The library's replay extension with fixed options; stores no position itself."""

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__()
        self._options = options

    async def outgoing(self, payload: list[dict[str, Any]], headers: dict[str, str]) -> None:
        for message in payload:
            if message["channel"] == MetaChannel.HANDSHAKE:
                message["ext"] = {"replay": True}
        await super().outgoing(payload, headers)

    async def insert_replay_id(self, message: dict[str, Any]) -> None:
        # The base omits a replay id of 0, and Salesforce treats a missing one as -1: new events only.
        channel = message["subscription"]
        message["ext"] = {"replay": {channel: _to_wire(self._options[channel])}}

    async def get_replay_marker(self, subscription: str) -> ReplayMarker | None:
        # The base's markers carry dates to compare; positions here are opaque and come from the session's options.
        del subscription
        return None

    async def set_replay_marker(self, subscription: str, replay_marker: ReplayMarker) -> None:
        """Do nothing: positions are committed together with their effects."""


class CometdClient(Client):
    """The library's client on :class:`SingleRequestTransport`, one request at a time."""

    def __init__(
        self,
        token: AccessToken,
        http: aiohttp.ClientSession,
        resume: Mapping[str, str],
        *,
        api_version: str,
        clock: Clock,
        limits: RequestLimits,
    ) -> None:
        super().__init__(
            _SharedTokenAuthenticator(token),
            replay=_ResumeExtension(resume),
            replay_storage_policy=ReplayMarkerStoragePolicy.MANUAL,
        )
        self.url = token.origin.join(f"/{COMETD_PATH}/{api_version}")
        self._options = resume
        self._limits = limits
        self._single_request_transport = SingleRequestTransport(self, token, http, clock, limits)

    @property
    def handshake_exchange(self) -> Exchange:
        """Answer to the handshake."""
        assert self._single_request_transport.last_exchange is not None
        return self._single_request_transport.last_exchange

    async def open(self) -> None:
        """Perform the handshake; unlike the base, start no connect task."""
        assert self.auth is not None
        await self.auth.authenticate()
        self._transport = await self._negotiate_transport()
        self._closed = False

    async def _negotiate_transport(self) -> TransportBase:
        reply = await self._single_request_transport.handshake([ConnectionType.LONG_POLLING])
        _require_success(Stage.HANDSHAKE, reply)
        offered = reply.get("supportedConnectionTypes")
        if (
            not isinstance(offered, list)
            or self._pick_connection_type(offered) is None
            or not self._single_request_transport.client_id
        ):
            raise SessionFault(
                EndReason("handshake_incomplete", "handshake: the reply lacks clientId or long polling")
            )
        return self._single_request_transport

    async def connect(self, requested_ms: int | None, limit_ms: int) -> Exchange:
        """Send one ``/meta/connect``; a refusal is reported in ``end_reason``.

        Args:
            requested_ms: time within which the server is asked to answer; None for the server's own.
            limit_ms: time after which the request counts as unanswered.
        """
        message: dict[str, Any] = {**CONNECT_MESSAGE}
        if requested_ms is not None:
            message["advice"] = {"timeout": requested_ms}
        exchange = await self._single_request_transport.exchange(Stage.CONNECT, [message], limit_ms)
        reply = exchange.replies[0]
        if reply["successful"]:
            return exchange
        end_reason = reply_reason(Stage.CONNECT, reply)
        return replace(exchange, end_reason=end_reason)

    async def subscribe_all(self) -> list[Exchange]:
        """Subscribe every channel, in as few requests as their size allows.

        Raises:
            SessionFault: a channel was refused, or not acknowledged.
        """
        exchanges = []
        acknowledged: set[str] = set()
        for names in self._subscription_batches():
            messages: list[dict[str, Any]] = [{**SUBSCRIBE_MESSAGE, "subscription": name} for name in names]
            exchange = await self._single_request_transport.exchange(
                Stage.SUBSCRIBE, messages, self._limits.subscribe_ms
            )
            for name, reply in zip(names, exchange.replies, strict=True):
                if not reply["successful"]:
                    end_reason = reply_reason(
                        Stage.SUBSCRIBE, reply, channel=name, position=self._options[name]
                    )
                    raise SessionFault(replace(end_reason, server_ms=exchange.server_ms))
                if reply.get("subscription") not in (name, [name]):
                    raise SessionFault(_not_acknowledged([name]))
                acknowledged.add(name)
            exchanges.append(exchange)
        if missing := self._options.keys() - acknowledged:
            raise SessionFault(_not_acknowledged(sorted(missing)))
        return exchanges

    def _subscription_batches(self) -> Iterator[list[str]]:
        batch: list[str] = []
        size = 2
        for name, option in self._options.items():
            # Twice the channel, the option, the client id and the fixed rest of a message.
            message_size = (
                len(orjson.dumps([name, name, option, self._single_request_transport.client_id])) + 160
            )
            if batch and size + message_size > self._limits.request_bytes:
                yield batch
                batch, size = [], 2
            batch.append(name)
            size += message_size
        yield batch

    async def disconnect(self, limit_ms: int) -> None:
        """Send a disconnect if the server issued a client id.

        The server drops a silent client by itself, so a failure is harmless.
        """
        if self._single_request_transport.client_id is not None:
            await self._single_request_transport.send_disconnect(limit_ms)


class SingleRequestTransport(LongPollingTransport):
    """The library's long-polling transport, without connect loop, resends and queue."""

    def __init__(
        self,
        client: CometdClient,
        token: AccessToken,
        http: aiohttp.ClientSession,
        clock: Clock,
        limits: RequestLimits,
    ) -> None:
        # Skips LongPollingTransport.__init__: it passes a loop argument, which Python 3.10 removed, to a semaphore.
        TransportBase.__init__(
            self,
            url=client.url,
            incoming_queue=asyncio.Queue(1),
            extensions=client.extensions,
            auth=client.auth,
            http_session=http,
        )
        self._http = http
        self._secret = token.value
        self._clock = clock
        self._limits = limits
        self.last_exchange: Exchange | None = None

    async def exchange(self, stage: Stage, messages: list[dict[str, Any]], limit_ms: int) -> Exchange:
        """Send ``messages`` in one request and parse its complete answer.

        Raises:
            SessionFault: no complete answer arrived.
        """
        self._finalize_payload(messages)
        headers: dict[str, str] = {}
        await self._process_outgoing_payload(messages, headers)
        return await self._request(stage, messages, headers, limit_ms)

    async def send_disconnect(self, limit_ms: int) -> None:
        """Send ``/meta/disconnect``, best effort."""
        message = [DISCONNECT_MESSAGE.copy()]
        self._finalize_payload(message)
        headers: dict[str, str] = {}
        await self._process_outgoing_payload(message, headers)
        try:
            async with asyncio.timeout(limit_ms / 1000), self._post(message, headers) as response:
                await read_body(response, _FAREWELL_BYTES)
        except Exception:  # noqa: BLE001 - whatever a library raises
            # Documented: Salesforce drops a client that is silent for 40 s; nothing depends on this reply.
            return

    async def _send_payload_with_auth(self, payload: list[dict[str, Any]]) -> dict[str, Any]:
        # The base would sign in and send again after any 401 or 403, even from a full server.
        return await self._send_payload(payload)

    async def _send_final_payload(
        self, payload: list[dict[str, Any]], *, headers: dict[str, str]
    ) -> dict[str, Any]:
        self.last_exchange = await self._request(Stage.HANDSHAKE, payload, headers, self._limits.handshake_ms)
        return dict(self.last_exchange.replies[0])

    def _start_connect_task(self, coro: Any) -> Any:
        coro.close()
        raise AssertionError("polls are awaited one at a time; the library's connect loop must not run")

    async def _request(
        self, stage: Stage, messages: Sequence[Mapping[str, Any]], headers: dict[str, str], limit_ms: int
    ) -> Exchange:
        margin_s = self._limits.poll_margin_ms / 1000
        try:
            async with (
                asyncio.timeout(limit_ms / 1000) as deadline,
                self._post(messages, headers) as response,
            ):
                # An answer that begins at the last moment gets the margin to arrive.
                started_s = asyncio.get_running_loop().time()
                deadline.reschedule(max(deadline.when() or started_s, started_s + margin_s))
                body = await read_body(response, self._limits.answer_bytes)
        except HttpFault as fault:
            raise _body_fault(stage, fault) from fault
        except Exception as error:
            # Whatever a library raises ends the session.
            raise SessionFault(_transport_reason(stage, error, limit_ms)) from error
        received_ms = self._clock.monotonic_ms()
        if response.status != 200:
            raise SessionFault(self._status_reason(stage, response, body))
        elements = parse_elements(body)
        if elements is None:
            elements = await asyncio.to_thread(read_elements, stage, body)
        server_ms = http_date_ms(response.headers.get("Date"))
        return parse_answer(stage, messages, body, server_ms, received_ms, elements)

    def _post(self, messages: Sequence[Mapping[str, Any]], headers: dict[str, str]) -> Any:
        return self._http.post(
            self._url,
            data=orjson.dumps(messages),
            headers={**headers, "Content-Type": "application/json", "Accept-Encoding": ACCEPT_ENCODING},
            allow_redirects=False,
            auto_decompress=False,
        )

    def _status_reason(self, stage: Stage, response: aiohttp.ClientResponse, body: bytes) -> EndReason:
        text = body[:2_000].decode("utf-8", "replace").replace(self._secret.get_secret_value(), "***")
        return http_reason(
            stage, response.status, response.headers.get("Content-Type", ""), parse(body[:_ERROR_BYTES]), text
        )


def _require_success(stage: Stage, reply: Mapping[str, Any]) -> None:
    if not reply["successful"]:
        raise SessionFault(reply_reason(stage, reply))


def _not_acknowledged(channels: Sequence[str]) -> EndReason:
    detail = f"subscribe: not acknowledged: {', '.join(channels)}"
    return EndReason("not_acknowledged", one_line(detail), channel=channels[0])


def _body_fault(stage: Stage, fault: HttpFault) -> SessionFault:
    """Build the fault of an answer that cannot be read.

    The fault of an answer that would come again the same carries its beginning.
    """
    if fault.code in ("answer_too_large", "bad_encoding"):
        return BadBody(stage, fault.detail, fault.body or b"", fault.code)
    return SessionFault(EndReason(fault.code, f"{stage}: {one_line(fault.detail)}"))


def _to_wire(option: str) -> int | str:
    """Convert a replay id that looks like a number to one, as Salesforce's clients do."""
    return int(option) if _INTEGER.fullmatch(option) else option


def _transport_reason(stage: Stage, error: BaseException, limit_ms: int) -> EndReason:
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError):
        tls = isinstance(error, aiohttp.ClientSSLError)
        code = "tls_failed" if tls else "connect_failed"
    elif isinstance(error, TimeoutError):
        code = "poll_timeout" if stage is Stage.CONNECT else f"{stage}_timeout"
        return EndReason(code, f"{stage}: no complete answer within {limit_ms / 1000:g} s")
    elif isinstance(error, aiohttp.ClientPayloadError):
        code = "truncated"
    else:
        code = "connection_lost"
    return EndReason(code, f"{stage}: {one_line(str(error) or type(error).__name__)}")
