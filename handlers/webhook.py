"""Lifecycle events as signed HTTP POST requests, one per event.

The body is a CloudEvent in structured mode (``application/cloudevents+json``, version 1.0): ``type`` is ``cadence.`` and the event's type,
``subject`` the run, ``source`` the org, ``data`` the lifecycle event. It is signed as specified by `Standard Webhooks
<https://www.standardwebhooks.com>`_, with ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``. The id is derived from the
event's id and the same in every attempt, so that a receiver that remembers ids processes each event once. While a secret is being
rotated, both the old and the new one sign.

The status of the answer decides:

=================================  ===============================================================================
2xx                                acknowledged
410                                the endpoint is gone for good: the handler is disabled, its events wait for an operator
429, 503 (with ``Retry-After``)    retried, not before the time that the receiver asks for
408, 425, other 5xx, no answer     retried with backoff
3xx                                dead letter: redirects are not followed, the body is meant for this address only
other 4xx                          dead letter: the receiver would refuse the same body again
=================================  ===============================================================================

::

    [handlers.crm]
    use = "webhook"
    on = ["run.ended.*"]
    settings.url = "https://crm.example/hooks/cadence"
    settings.secrets = ["whsec_…"]
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated

from aiohttp import ClientError, ClientTimeout
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    field_validator,
)

from consumer import Context, Disable, Handler, LifecycleEvent, Reject, Retry

__all__ = ["Webhook"]

MAX_RETRY_AFTER_S = 86_400.0
"""Limit for ``Retry-After``: one day."""
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
"""Size limits of a secret, from Standard Webhooks."""
OWN_HEADERS = frozenset(
    {"content-type", "content-length", "host", "webhook-id", "webhook-timestamp", "webhook-signature"}
)
RETRYABLE_STATUSES = frozenset({408, 425, 429})


def _split_list(value: object) -> object:
    """Split a string of secrets, as in an environment variable, at spaces and commas."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _check_secret(secret: SecretStr) -> SecretStr:
    key = _decode_key(secret)
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"must be {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {len(key)}; create one with: openssl rand -base64 32"
        )
    return secret


def _decode_key(secret: SecretStr) -> bytes:
    text = secret.get_secret_value().removeprefix("whsec_")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64, with or without the prefix whsec_") from None


class Webhook(Handler):
    """Post each event to a URL."""

    class Settings(BaseModel):
        """URL, signing secrets, headers and timeout."""

        model_config = ConfigDict(extra="forbid")

        url: HttpUrl = Field(description="URL to post to.")
        secrets: Annotated[
            tuple[Annotated[SecretStr, AfterValidator(_check_secret)], ...], BeforeValidator(_split_list)
        ] = Field(
            min_length=1,
            description="Standard Webhooks secrets (`whsec_` and base64 of 24 to 64 bytes). All of them sign: to rotate one, "
            "add the new one here, then on the receiver, then remove the old one.",
        )
        headers: dict[str, SecretStr] = Field(
            default_factory=dict, description="Additional headers, such as `Authorization`; never logged."
        )
        timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
            default=15.0,
            description="Seconds to wait for the answer; default 15. Must be less than `handlers.<name>.timeout`, which would cut it off.",
        )
        source: str = Field(
            default="/cadence-consumer",
            min_length=1,
            description="CloudEvents `source` of events whose id does not name an org.",
        )

        @field_validator("headers")
        @classmethod
        def _reject_reserved(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
            for name, value in headers.items():
                if name.lower() in OWN_HEADERS:
                    raise ValueError(f"{name} is set by the handler itself; remove it")
                if any(character in name + value.get_secret_value() for character in "\r\n\0"):
                    raise ValueError(f"the header {name!r} must not contain line breaks or NUL characters")
            return headers

    on = ("*",)

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Keep the settings; the first request opens the connection."""
        del ctx
        self._url = str(settings.url)
        self._keys = [_decode_key(secret) for secret in settings.secrets]
        self._headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._timeout = ClientTimeout(total=settings.timeout)
        self._source = settings.source

    async def handle(self, event: LifecycleEvent, ctx: Context) -> None:
        """Post the event and act on the status of the answer."""
        body = event.to_cloudevent(self._source)
        headers = {
            **self._headers,
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            **self._signature_headers(event.id, body),
        }
        try:
            async with ctx.http.post(
                self._url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                status, retry_after = response.status, response.headers.get("Retry-After")
        except TimeoutError:
            raise Retry(reason=f"no answer within {self._timeout.total:g} s") from None
        except ClientError as error:
            # The error's text may contain the URL, and the URL a token.
            raise Retry(reason=f"the receiver cannot be reached: {type(error).__name__}") from None
        _raise_for_status(status, retry_after)

    def _signature_headers(self, event_id: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(time.time()))
        # The signed content is "id.timestamp.body", so the id must not contain a dot.
        message_id = _message_id(event_id)
        content = f"{message_id}.{timestamp}.".encode() + body
        signatures = (
            base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in self._keys
        )
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }


def _message_id(event_id: str) -> str:
    """Message id of an event, the same in every attempt.

    Standard Webhooks requires a short id without dots; event ids are neither.
    """
    return f"msg_{hashlib.sha256(event_id.encode()).hexdigest()[:40]}"


def _raise_for_status(status: int, retry_after: str | None) -> None:
    if 200 <= status < 300:
        return
    if status == 410:
        raise Disable(
            "the receiver answered 410 Gone: it accepts no more events; change settings.url or disable this handler, then restart"
        )
    if status in RETRYABLE_STATUSES or status >= 500:
        after = _retry_after_seconds(retry_after) if status in {429, 503} else None
        raise Retry(after=after, reason=f"the receiver answered {status}")
    if 300 <= status < 400:
        raise Reject(
            f"the receiver answered {status}; redirects are not followed, set settings.url to the new address"
        )
    raise Reject(f"the receiver answered {status}")


def _retry_after_seconds(retry_after: str | None) -> float | None:
    """Parse ``Retry-After`` to seconds; None if it is absent or invalid.

    The header holds seconds or an HTTP date.
    """
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        # All of these are raised by the standard library for malformed dates and numbers out of range.
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return min(max(0.0, (instant - datetime.now(UTC)).total_seconds()), MAX_RETRY_AFTER_S)
