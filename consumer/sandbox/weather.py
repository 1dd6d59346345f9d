"""The weather: trouble, on demand or with a probability, and a count of what really happened.

Trouble reaches the sandbox at four places, and each place asks the weather what to do: a commit (events
held back, swapped, republished, turned into gaps), a delivered event (delivered again), a poll (session
dropped, no answer, half an answer, nonsense) and an HTTP request (status codes, HTML, a closed socket).
Subscribes and handshakes can be refused. `cause` orders a trouble for the next occasion; `WeatherOptions`
sets probabilities. Probabilities draw from one seeded generator; counters rise only when the trouble has
gone out, so a test can tell an order from a fact.

Reordering is always a matter of *publication*: an event is published later than a younger one, so
replay ids stay in delivery order and resuming by position loses nothing.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Final

from consumer.sandbox.change_events import ChangeEvent, gap_of, overflow_of
from consumer.sandbox.errors import UnknownTrouble
from consumer.sandbox.ids import EMPTY_ID

COMMIT_TROUBLE: Final = ("reorder", "swap", "republish", "gap", "overflow", "suppress")
DELIVERY_TROUBLE: Final = ("duplicate",)
POLL_TROUBLE: Final = (
    "drop_session",
    "stall",
    "delay",
    "cut",
    "malformed",
    "server_disconnect",
    "close_socket",
    "refuse_connect",
)
REQUEST_TROUBLE: Final = ("http_status",)
REFUSALS: Final = ("refuse_subscribe", "refuse_handshake")
IMMEDIATE: Final = ("revoke", "expire")

KINDS: Final = (*COMMIT_TROUBLE, *DELIVERY_TROUBLE, *POLL_TROUBLE, *REQUEST_TROUBLE, *REFUSALS, *IMMEDIATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherOptions:
    """Probabilities per occasion (0 to 1), all 0 by default, and how long trouble lasts.

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
        reorder_ms: least and greatest publication delay in ms.
        delay_ms: least and greatest answer delay in ms.
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
class Trouble:
    """One occurrence: its kind and the details it was ordered with."""

    kind: str
    details: dict[str, Any] = field(default_factory=dict)


class Weather:
    """Decides what goes wrong; `counters` says how often each kind really did."""

    def __init__(self, options: WeatherOptions | None = None, *, seed: int = 1) -> None:
        self.options = options or WeatherOptions()
        self.counters: Counter[str] = Counter()
        self.on_order: Callable[[], None] = lambda: None
        self._immediate: dict[str, Callable[[dict[str, Any]], int]] = {}
        self._orders: dict[str, deque[Trouble]] = {kind: deque() for kind in KINDS}
        self._chances: dict[str, float] = {}
        self._seed = seed
        self._random = random.Random()
        self.change(self.options)

    def change(self, options: WeatherOptions) -> None:
        """Take new probabilities and start the dice from their seed."""
        self.options = options
        self._random.seed(f"weather-{self._seed}")
        named = {each.name: getattr(options, each.name) for each in fields(options)}
        self._chances = {kind: named.get(kind, 0.0) for kind in KINDS}

    def calm(self) -> None:
        """Set every probability to zero and forget all orders."""
        self.change(WeatherOptions())
        for orders in self._orders.values():
            orders.clear()

    def immediate(self, kind: str, action: Callable[[dict[str, Any]], int]) -> None:
        """Name who carries out a trouble that waits for no occasion; the action returns how often it happened."""
        self._immediate[kind] = action

    def cause(self, kind: str, *, times: int = 1, **details: Any) -> None:
        """Order trouble for the next `times` occasions; raises `UnknownTrouble`.

        Details by kind: `refuse_subscribe` (`error`, `failure_reason`, `advice`, `channel`), `refuse_handshake`
        (`reason`), `refuse_connect` (`error`, `failure_reason`, `advice`), `http_status` (`status`, `body`,
        `content_type`, `headers`, `scope`: cometd | oauth | rest | any), `stall` and `delay` (`ms`), `drop_session`
        (`error`), `revoke` (`token`), `expire` (`through`: replay id).
        """
        if kind not in KINDS:
            raise UnknownTrouble(kind=kind, known=KINDS)
        if kind in IMMEDIATE:
            self.happened(kind, self._immediate[kind](details))
            return
        self._orders[kind].extend([Trouble(kind, details)] * times)
        self.on_order()

    def happened(self, kind: str, times: int = 1) -> None:
        """Count trouble that has gone out."""
        self.counters[kind] += times

    def ordered(self, kind: str, *, matching: Callable[[Trouble], bool] | None = None) -> Trouble | None:
        """Take the next order of this kind, if there is one and it matches."""
        orders = self._orders[kind]
        if orders and (matching is None or matching(orders[0])):
            return orders.popleft()
        return None

    def strikes(self, kind: str) -> Trouble | None:
        """The trouble of this kind that applies now: an order, else what the dice say."""
        trouble = self.ordered(kind)
        if trouble is not None:
            return trouble
        chance = self._chances[kind]
        return Trouble(kind) if chance and self._random.random() < chance else None

    def ordered_for_poll(self) -> Trouble | None:
        """The next ordered trouble for a poll, which strikes one that is being held too."""
        for kind in POLL_TROUBLE:
            if (trouble := self.ordered(kind)) is not None:
                return trouble
        return None

    def drawn_for_poll(self) -> Trouble | None:
        """What the dice say about one poll."""
        for kind in POLL_TROUBLE:
            chance = self._chances[kind]
            if chance and self._random.random() < chance:
                return Trouble(kind)
        return None

    def drawn_ms(self, bounds: tuple[int, int]) -> int:
        """A duration between two bounds, in ms."""
        return self._random.randint(*bounds)

    @property
    def repeats_deliveries(self) -> bool:
        """Whether any delivered event may be delivered again."""
        return bool(self._chances["duplicate"] or self._orders["duplicate"])

    def over_commit(self, events: list[ChangeEvent]) -> list[tuple[ChangeEvent, int]]:
        """What a transaction's events become: each with the ms by which its publication is put off."""
        if self.ordered("overflow") is not None:
            self.happened("overflow")
            events = [
                overflow_of(event, EMPTY_ID) for event in {each.entity: each for each in events}.values()
            ]
        if len(events) > 1 and self.strikes("swap") is not None:
            self.happened("swap")
            events = events[::-1]
        published: list[tuple[ChangeEvent, int]] = []
        for event in events:
            if self.strikes("suppress") is not None:
                self.happened("suppress")
                continue
            shape = event
            if self.strikes("gap") is not None:
                self.happened("gap")
                shape = gap_of(event)
            published.append((shape, self._put_off("reorder")))
            if (again := self._put_off("republish")) > 0:
                published.append((shape, again))
        return published

    def _put_off(self, kind: str) -> int:
        if self.strikes(kind) is None:
            return 0
        self.happened(kind)
        return self.drawn_ms(self.options.reorder_ms)
