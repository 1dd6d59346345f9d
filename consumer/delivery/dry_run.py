"""HTTP session and action sender of a dry run, which record and send nothing.

Every request gets a response of 200 with an empty JSON object, and every action succeeds: other responses are for the handler's tests.
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
"""Number of characters of a body that are shown."""


class RecordedResponse:
    """Response to a recorded request: 200 and ``{}``.

    It is awaitable and a context manager, as aiohttp's requests are.
    """

    status = 200
    ok = True
    reason = "OK"
    headers: Mapping[str, str] = {"Content-Type": "application/json"}

    async def json(self, **_: Any) -> Any:
        """Return an empty object."""
        return {}

    async def text(self, **_: Any) -> str:
        """Return an empty object as text."""
        return "{}"

    async def read(self) -> bytes:
        """Return an empty object as bytes."""
        return b"{}"

    def raise_for_status(self) -> None:
        """Do nothing: the status is 200."""

    def release(self) -> None:
        """Do nothing: no connection is held."""

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def __await__(self) -> Generator[Any, None, Self]:
        """Return the response at once."""
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        """Return the response."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no connection is held."""


class RecordedHttp:
    """Replacement of the shared ``aiohttp.ClientSession``.

    Args:
        emit: called with a line for every request.
    """

    closed = False

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit

    def request(self, method: str, url: object, **named: Any) -> RecordedResponse:
        """Record a request."""
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
    """Replacement of the action sender, with which every action succeeds.

    Nothing is sent, and no target is enrolled yet.

    Args:
        emit: called with a line for every input.
    """

    records = True

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit

    async def send(self, inputs: Sequence[InputT], *, client: str) -> list[ActionResult[InputT]]:
        """Record inputs."""
        del client
        for action_input in inputs:
            self._emit(f"{action_input.action} {action_input.model_dump_json(exclude_none=True)}")
        return [ActionResult(action_input, ActionStatus.SUCCEEDED) for action_input in inputs]

    async def active_runs(self, inputs: Sequence[AssignTarget]) -> list[str | None]:
        """Return no run for every input."""
        return [None] * len(inputs)

    async def is_active(self, tracker_id: str) -> bool:
        """Return true for every run."""
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
