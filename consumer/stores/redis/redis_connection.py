"""Connection to one Redis or Valkey server.

The client never repeats a command by itself: a script that timed out may have been applied, and only the commit's number can tell. Every
socket has a timeout: redis-py's default has none, and a connection without one can hang for hours.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from consumer.errors import StoreUnavailable
from consumer.stores.error_hints import with_hint
from consumer.stores.journal_signal import JournalSignal
from consumer.stores.redis.redis_keys import RedisKeys, RedisScripts

__all__ = ["RedisConnection"]

_TIMEOUT_S: Final = 5.0


class RedisConnection:
    """Client, keys and scripts of one store.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py reads them.
        shown_url: the same without password.
        prefix: first part and hash tag of every key.
        read_only: for commands that only read: writes nothing, not even the format's version.
    """

    def __init__(self, url: str, *, shown_url: str, prefix: str = "cadence", read_only: bool = False) -> None:
        self._shown_url = shown_url
        self._read_only = read_only
        # Any: redis-py types its answers for every decoding mode at once.
        self._redis: Any = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        )
        self._keys = RedisKeys(prefix)
        self._scripts = RedisScripts(self._redis)
        self._journal_signal = JournalSignal()

    @property
    def url(self) -> str:
        """Location of the store without password."""
        return self._shown_url

    async def aclose(self) -> None:
        """Close every connection."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _call(self, command: Awaitable[Any]) -> Any:
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task is not None else 0
        try:
            return await command
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(self.url, with_hint(error)) from error
        finally:
            # redis-py sends under asyncio.wait_for, which on Python 3.11 swallows a cancellation that arrives while it sends; a task
            # that survives its cancellation keeps the task group of an ended tenure waiting forever.
            if task is not None and task.cancelling() > cancelled_before:
                raise asyncio.CancelledError
