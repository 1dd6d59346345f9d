"""Filters of a handler, for the events that its ``on`` selects."""

from __future__ import annotations

from collections.abc import Callable

from consumer.actions.client import client_name_for, is_from_client
from consumer.clock import to_ms
from consumer.delivery.loading import LoadedHandler
from consumer.domain.lifecycle_events import LifecycleEvent

__all__ = ["EventFilter"]


class EventFilter:
    """Filters of one handler: origins, own changes, age, predicate.

    Args:
        loaded: the handler.
        wall_ms: returns the current wall milliseconds.
    """

    def __init__(self, loaded: LoadedHandler, wall_ms: Callable[[], int]) -> None:
        self._spec = loaded.spec
        self._predicate = loaded.handler.wants if loaded.has_predicate else None
        self._client = client_name_for(loaded.name)
        self._wall_ms = wall_ms

    def rejected_by(self, event: LifecycleEvent, *, replayed: bool) -> str | None:
        """Name of the filter that rejects ``event``; None when the handler gets it.

        A replay names its events by offset, so none of them is rejected for its age.

        Raises:
            Exception: raised by the handler's predicate.
        """
        spec = self._spec
        if event.origin not in spec.origins:
            return "origin"
        if spec.ignore_own_changes and is_from_client(event.change_origin, self._client):
            return "own_change"
        if spec.max_age is not None and not replayed and self._wall_ms() - to_ms(event.time) > spec.max_age:
            return "max_age"
        if self._predicate is not None and not self._predicate(event):
            return "predicate"
        return None
