"""``ctx.http`` and ``ctx.actions`` that write down what would have been sent, for trying a handler out.

Every request is answered 200 with an empty JSON object and every action succeeds: what a handler does with other answers is for its tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from consumer.action_results import ActionResult, ActionStatus
from consumer.actions import ActionInput, AssignTarget

__all__ = ["RecordedHttp", "RecordingPerformer"]

I = TypeVar("I", bound=ActionInput)  # noqa: E741 - an input

BODY_SHOWN = 500
"""Characters of a body that are told."""


class RecordedAnswer:
    """What a recorded request is answered: 200 and ``{}``. Awaitable and a context manager, as aiohttp's requests are."""

    status = 200
    ok = True
    reason = "OK"
    headers: Mapping[str, str] = {"Content-Type": "application/json"}

    async def json(self, **_: Any) -> Any:
        """An empty object."""
        return {}

    async def text(self, **_: Any) -> str:
        """An empty object."""
        return "{}"

    async def read(self) -> bytes:
        """An empty object."""
        return b"{}"

    def raise_for_status(self) -> None:
        """It is 200."""

    def release(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is open."""

    def __await__(self) -> Generator[Any, None, Self]:
        """Itself, at once."""
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""


class RecordedHttp:
    """Stands in for the shared ``aiohttp.ClientSession``.

    Args:
        tell: gets a line for every request.
    """

    closed = False

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def request(self, method: str, url: object, **named: Any) -> RecordedAnswer:
        """Write a request down."""
        body = named.get("json", named.get("data"))
        shown = "" if body is None else f" {_shown(body)}"
        self._tell(f"{method.upper()} {url}{shown}")
        return RecordedAnswer()

    def __getattr__(self, name: str) -> Callable[..., RecordedAnswer]:
        if name not in ("get", "post", "put", "patch", "delete", "head", "options"):
            raise AttributeError(
                f"ctx.http.{name} cannot be recorded; use request, get, post, put, patch or delete"
            )
        return lambda url, **named: self.request(name, url, **named)


class RecordingPerformer:
    """Stands in for what sends actions: nothing is sent, everything succeeds, nobody is enrolled yet.

    Args:
        tell: gets a line for every input.
    """

    records = True

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    async def perform(self, inputs: Sequence[I], *, client: str) -> list[ActionResult[I]]:
        """Write inputs down."""
        del client
        for one in inputs:
            self._tell(f"{one.action} {one.model_dump_json(exclude_none=True)}")
        return [ActionResult(one, ActionStatus.SUCCEEDED) for one in inputs]

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        """None is active."""
        return [None] * len(inputs)

    async def is_active(self, tracker_id: str) -> bool:
        """It is."""
        del tracker_id
        return True


def _shown(body: object) -> str:
    if isinstance(body, bytes):
        text = body.decode("utf-8", "replace")
    elif isinstance(body, str):
        text = body
    else:
        text = json.dumps(body, default=str)
    return text if len(text) <= BODY_SHOWN else f"{text[:BODY_SHOWN]}…"
