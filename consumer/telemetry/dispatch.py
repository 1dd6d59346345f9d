"""Dispatch of observer events: one dictionary look-up on the event's type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Methods", "on"]

E = TypeVar("E")

Methods = dict[type[Any], Callable[[Any], None]]
"""Event type to the method that takes it; an event of any other type is a KeyError."""


def on(event_type: type[E], method: Callable[[E], None]) -> tuple[type[Any], Callable[[Any], None]]:
    """Return one row of :data:`Methods`; mypy checks the method against the event."""
    return event_type, method
