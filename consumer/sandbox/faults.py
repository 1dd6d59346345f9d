"""Fault injection: faults on demand or by probability, and counters of each kind.

Faults apply at four points: a commit (events held, swapped, republished, turned into gaps), a delivered event
(delivered again), a poll (session dropped, no answer, half an answer, malformed JSON) and an HTTP request (status
codes, HTML, a closed socket). Subscribes and handshakes can be refused. `inject` queues a fault for the next
occurrence; `FaultOptions` sets probabilities, which draw from one seeded generator. A counter rises only when its
fault has taken effect, so that a test can tell an injected fault from one that happened.

Reordering is always a matter of *publication*: an event is published later than a younger one, so replay ids stay in
delivery order and resuming by position loses nothing.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Final

from consumer.sandbox.change_events import ChangeEvent, as_gap, as_overflow
from consumer.sandbox.errors import UnknownFault
from consumer.sandbox.ids import EMPTY_ID

COMMIT_FAULTS: Final = ("reorder", "swap", "republish", "gap", "overflow", "suppress")
DELIVERY_FAULTS: Final = ("duplicate",)
POLL_FAULTS: Final = (
    "drop_session",
    "stall",
    "delay",
    "cut",
    "malformed",
    "server_disconnect",
    "close_socket",
    "refuse_connect",
)
REQUEST_FAULTS: Final = ("http_status",)
REFUSALS: Final = ("refuse_subscribe", "refuse_handshake")
IMMEDIATE: Final = ("revoke", "expire")

FAULT_KINDS: Final = (*COMMIT_FAULTS, *DELIVERY_FAULTS, *POLL_FAULTS, *REQUEST_FAULTS, *REFUSALS, *IMMEDIATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOptions:
    """Probabilities (0 to 1, default 0) of each kind of fault, and delays.

    Attributes:
        reorder: per event, to be published `reorder_ms` later than its commit.
        swap: per transaction, to be published in reverse sequence.
        republish: per event, to be published again under a new replay id after `reorder_ms`.
        gap: per event, to become a header-only gap event.
        suppress: per event, never to be published: Salesforce promises no delivery.
        duplicate: per delivered event, to be delivered again in a later poll with the same replay id.
        drop_session: per poll, to be answered `403::Unknown client`.
        stall: per poll, never to be answered.
        delay: per poll, to be answered `delay_ms` late.
        cut: per poll, to lose the second half of its body with the socket.
        malformed: per poll, to carry JSON that does not parse.
        server_disconnect: per poll, to carry a server-side `/meta/disconnect`.
        close_socket: per poll, to be reset without an answer.
        reorder_ms: minimum and maximum publication delay in ms.
        delay_ms: minimum and maximum answer delay in ms.
    """

    reorder: float = 0.0
    swap: float = 0.0
    republish: float = 0.0
    gap: float = 0.0
    suppress: float = 0.0
    duplicate: float = 0.0
    drop_session: float = 0.0
    stall: float = 0.0
    delay: float = 0.0
    cut: float = 0.0
    malformed: float = 0.0
    server_disconnect: float = 0.0
    close_socket: float = 0.0
    reorder_ms: tuple[int, int] = (50, 400)
    delay_ms: tuple[int, int] = (50, 400)


@dataclass(frozen=True, slots=True)
class Fault:
    """An occurrence of a fault: its kind and the details given to `inject`."""

    kind: str
    details: dict[str, Any] = field(default_factory=dict)


class Faults:
    """Decide which faults happen; `counters` counts those that did, by kind."""

    def __init__(self, options: FaultOptions | None = None, *, seed: int = 1) -> None:
        self.options = options or FaultOptions()
        self.counters: Counter[str] = Counter()
        self.on_inject: Callable[[], None] = lambda: None
        self._immediate_actions: dict[str, Callable[[dict[str, Any]], int]] = {}
        self._injected: dict[str, deque[Fault]] = {kind: deque() for kind in FAULT_KINDS}
        self._probabilities: dict[str, float] = {}
        self._seed = seed
        self._random = random.Random()
        self.configure(self.options)

    def configure(self, options: FaultOptions) -> None:
        """Set new probabilities and reset the generator to its seed."""
        self.options = options
        self._random.seed(f"weather-{self._seed}")
        probabilities = {option.name: getattr(options, option.name) for option in fields(options)}
        self._probabilities = {kind: probabilities.get(kind, 0.0) for kind in FAULT_KINDS}

    def clear(self) -> None:
        """Set every probability to zero and drop all injected faults."""
        self.configure(FaultOptions())
        for queue in self._injected.values():
            queue.clear()

    def register_immediate(self, kind: str, action: Callable[[dict[str, Any]], int]) -> None:
        """Register the action of an immediate fault; it returns the number to count."""
        self._immediate_actions[kind] = action

    def inject(self, kind: str, *, times: int = 1, **details: Any) -> None:
        """Inject a fault into the next `times` occurrences; raises `UnknownFault`.

        Details by kind: `refuse_subscribe` (`error`, `failure_reason`, `advice`, `channel`), `refuse_handshake`
        (`reason`), `refuse_connect` (`error`, `failure_reason`, `advice`), `http_status` (`status`, `body`,
        `content_type`, `headers`, `scope`: cometd | oauth | rest | any), `stall` and `delay` (`ms`), `drop_session`
        (`error`), `revoke` (`token`), `expire` (`through`: replay id).
        """
        if kind not in FAULT_KINDS:
            raise UnknownFault(kind=kind, known=FAULT_KINDS)
        if kind in IMMEDIATE:
            self.count_fault(kind, self._immediate_actions[kind](details))
            return
        self._injected[kind].extend([Fault(kind, details)] * times)
        self.on_inject()

    def count_fault(self, kind: str, times: int = 1) -> None:
        """Count a fault that has taken effect."""
        self.counters[kind] += times

    def injected(self, kind: str, *, matching: Callable[[Fault], bool] | None = None) -> Fault | None:
        """Take the next injected fault of this kind, if there is one and it matches."""
        queue = self._injected[kind]
        if queue and (matching is None or matching(queue[0])):
            return queue.popleft()
        return None

    def next_fault(self, kind: str) -> Fault | None:
        """Take an injected fault of this kind, else draw one by its probability."""
        fault = self.injected(kind)
        if fault is not None:
            return fault
        probability = self._probabilities[kind]
        return Fault(kind) if probability and self._random.random() < probability else None

    def injected_for_poll(self) -> Fault | None:
        """Take the next injected fault of a poll; it also applies to a poll that is held."""
        for kind in POLL_FAULTS:
            if (fault := self.injected(kind)) is not None:
                return fault
        return None

    def draw_for_poll(self) -> Fault | None:
        """Draw a fault for a poll, by the probabilities."""
        for kind in POLL_FAULTS:
            probability = self._probabilities[kind]
            if probability and self._random.random() < probability:
                return Fault(kind)
        return None

    def draw_ms(self, bounds: tuple[int, int]) -> int:
        """Draw a duration between two bounds, in ms."""
        return self._random.randint(*bounds)

    @property
    def may_duplicate(self) -> bool:
        """True if a delivered event may be delivered again."""
        return bool(self._probabilities["duplicate"] or self._injected["duplicate"])

    def apply_to_commit(self, events: list[ChangeEvent]) -> list[tuple[ChangeEvent, int]]:
        """Apply faults to a transaction's events; return each with its delay in ms."""
        if self.injected("overflow") is not None:
            self.count_fault("overflow")
            last_by_entity = {event.entity: event for event in events}
            events = [as_overflow(event, EMPTY_ID) for event in last_by_entity.values()]
        if len(events) > 1 and self.next_fault("swap") is not None:
            self.count_fault("swap")
            events = events[::-1]
        published: list[tuple[ChangeEvent, int]] = []
        for event in events:
            if self.next_fault("suppress") is not None:
                self.count_fault("suppress")
                continue
            published_event = event
            if self.next_fault("gap") is not None:
                self.count_fault("gap")
                published_event = as_gap(event)
            published.append((published_event, self._draw_delay("reorder")))
            if (republish_delay := self._draw_delay("republish")) > 0:
                published.append((published_event, republish_delay))
        return published

    def _draw_delay(self, kind: str) -> int:
        if self.next_fault(kind) is None:
            return 0
        self.count_fault(kind)
        return self.draw_ms(self.options.reorder_ms)
