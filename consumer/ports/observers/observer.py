"""Receiver of observer events."""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["Observer"]

Event_contra = TypeVar("Event_contra", contravariant=True)


class Observer(Protocol[Event_contra]):
    """Receiver of the events of one area; implementations neither block nor raise."""

    def observe(self, event: Event_contra) -> None:
        """Take note of ``event``; called where it happens, so it has to be quick."""
        ...
