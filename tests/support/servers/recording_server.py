"""An HTTP server that answers what it is told and remembers what it was sent: a host to which no token may travel."""

from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RecordingServer:
    """``answer`` is called for every request; without it the answer is an empty object."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2, max_line_size=65_536)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def saw_a_token(self) -> bool:
        """Whether a request came with credentials, in a header, the address or the body."""
        return any("Authorization" in each for each in self.headers) or any(
            "00D" in text for text in (*self.paths, *map(repr, self.bodies))
        )

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        self.paths.append(request.raw_path)
        self.bodies.append(await request.read())
        if self.answer is None:
            return web.json_response({})
        return await self.answer(request)


def json_answer(value: Any, **headers: str) -> web.Response:
    """A JSON answer with a date."""
    return web.json_response(value, headers={"Date": "Wed, 01 Jul 2026 09:30:15 GMT", **headers})
