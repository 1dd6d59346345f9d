"""Keys and scripts of the Redis store.

All keys share one hash tag, so the store fits on a cluster.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

__all__ = ["RedisKeys", "RedisScripts"]


class RedisKeys:
    """Names of the keys under one prefix.

    A handler or a run is appended to an attribute ending in ``_prefix``.

    Args:
        prefix: first part and hash tag of every key.
    """

    def __init__(self, prefix: str) -> None:
        tag = f"{{{prefix}}}:"
        self.lease = f"{tag}lease"
        self.meta = f"{tag}meta"
        self.states = f"{tag}states"
        self.journal = f"{tag}journal"
        self.run_prefix = f"{tag}run:"
        self.channels = f"{tag}channels"
        self.history = f"{tag}positions"
        self.checkpoints = f"{tag}checkpoints"
        self.timers = f"{tag}timers"
        self.reconcile_tasks = f"{tag}tasks"
        self.ingest_dead_letters = f"{tag}dead:ingest"
        self.ingest_dead_letters_order = f"{tag}dead:ingest:order"
        self.cursors = f"{tag}places"
        self.blocked_runs_prefix = f"{tag}parked:"
        self.handler_dead_letters = f"{tag}dead:handlers"
        self.dead_letters_order_prefix = f"{tag}dead:handlers:order:"
        self.redrives_prefix = f"{tag}dead:handlers:retry:"
        self.once_prefix = f"{tag}once:"
        self.commands = f"{tag}orders"


class RedisScripts:
    """Lua scripts of the store, registered with a client.

    Args:
        redis: the client that runs them.
    """

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self.commit = self._register("commit")
        self.lease = self._register("lease")
        self.cursor = self._register("cursor")
        self.move = self._register("move")
        self.trim = self._register("trim")

    def _register(self, name: str) -> Any:
        text = resources.files("consumer.stores.redis").joinpath(f"{name}.lua").read_text()
        return self._redis.register_script(text)
