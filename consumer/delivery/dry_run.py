"""``ctx.http`` and ``ctx.actions`` that write down what would have been sent, for trying a handler out.

Every request is answered 200 with an empty JSON object and every action succeeds: what a handler does with other answers is for its tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from consumer.actions.inputs import ActionInput, AssignTarget
from consumer.actions.results import ActionResult, ActionStatus

__all__ = ["RecordedHttp", "RecordingActionSender"]

InputT = TypeVar("InputT", bound=ActionInput)

BODY_PREVIEW_LENGTH = 500
"""Characters of a body that are told."""


class RecordedResponse:
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
        emit: gets a line for every request.
    """

    closed = False

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit

    def request(self, method: str, url: object, **named: Any) -> RecordedResponse:
        """Write a request down."""
        body = named.get("json", named.get("data"))
        shown = "" if body is None else f" {_preview(body)}"
        self._emit(f"{method.upper()} {url}{shown}")
        return RecordedResponse()

    def __getattr__(self, name: str) -> Callable[..., RecordedResponse]:
        if name not in ("get", "post", "put", "patch", "delete", "head", "options"):
            raise AttributeError(
                f"ctx.http.{name} cannot be recorded; use request, get, post, put, patch or delete"
            )
        return lambda url, **named: self.request(name, url, **named)


class RecordingActionSender:
    """Stands in for what sends actions: nothing is sent, everything succeeds, nobody is enrolled yet.

    Args:
        emit: gets a line for every input.
    """

    records = True

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit

    async def send(self, inputs: Sequence[InputT], *, client: str) -> list[ActionResult[InputT]]:
        """Write inputs down."""
        del client
        for action_input in inputs:
            self._emit(f"{action_input.action} {action_input.model_dump_json(exclude_none=True)}")
        return [ActionResult(action_input, ActionStatus.SUCCEEDED) for action_input in inputs]

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        """None is active."""
        return [None] * len(inputs)

    async def is_active(self, tracker_id: str) -> bool:
        """It is."""
        del tracker_id
        return True


def _preview(body: object) -> str:
    if isinstance(body, bytes):
        text = body.decode("utf-8", "replace")
    elif isinstance(body, str):
        text = body
    else:
        text = json.dumps(body, default=str)
    return text if len(text) <= BODY_PREVIEW_LENGTH else f"{text[:BODY_PREVIEW_LENGTH]}…"
