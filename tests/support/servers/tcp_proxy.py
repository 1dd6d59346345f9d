"""A TCP proxy that stands between a client and a server and breaks what they believe about each other.

Everything is forwarded until it is told otherwise: chunks can be delayed in either direction, forwarding can stop while every connection
stays open (half-open), connections can be refused, reset, or cut after so many bytes. One request can be picked by bytes that it contains:
it is held back before the server sees it, or it is delivered and its answer is withheld. The client that gives up meanwhile changes
nothing: a held request still reaches the server when it is released, which is what a network may do.

Memory is bounded: one chunk per direction and connection, and a most number of connections. Whoever speaks in turns (request, answer) is
understood; pipelining is forwarded but a picked request then counts with what was sent beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Self

_CHUNK = 64 * 1024
_MOST_CONNECTIONS = 200
_GIVE_UP_S = 10
# A connection is accepted, wrapped, made and handed to its task in four turns of the loop; twice that is enough.
_TURNS_TO_BEGIN = 8
_NO_LINGER = struct.pack("ii", 1, 0)


class Picked:
    """A request that was picked out of the traffic.

    Attributes:
        needle: bytes that it contains.
        holds_request: held back before the server sees it; otherwise its answer is withheld.
        request: the chunk in which it was found.
        answer: the first chunk that the server answered; empty when the server closed the connection instead.
        seen: it has come.
        answered: the server has answered.
    """

    def __init__(self, needle: bytes, *, holds_request: bool) -> None:
        self.needle = needle
        self.holds_request = holds_request
        self.request = b""
        self.answer = b""
        self.seen = asyncio.Event()
        self.answered = asyncio.Event()
        self.released = asyncio.Event()
        self.connection: _Connection | None = None

    def release(self) -> None:
        """Let the request, or its answer, go on."""
        self.released.set()

    def cut(self, after: int) -> None:
        """Let so many bytes of the request, or of its answer, go on, then reset the connection."""
        assert self.connection is not None, "nothing was picked yet"
        if self.holds_request:
            self.connection.requests_left = after
        else:
            self.connection.answers_left = after
        self.released.set()

    def reset(self) -> None:
        """Reset the connection on which it came, on both sides, with whatever is withheld on it."""
        assert self.connection is not None, "nothing was picked yet"
        self.connection.reset()


class TcpProxy:
    """Listens on a free port of the loopback address and forwards to a server.

    Attributes:
        port: where it listens.
        delay_requests_s: each chunk towards the server waits so long.
        delay_answers_s: each chunk towards the client waits so long.
        accepted: connections so far.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._picks: list[Picked] = []
        self.port = 0
        self.delay_requests_s = 0.0
        self.delay_answers_s = 0.0
        self.accepted = 0

    async def __aenter__(self) -> Self:
        await self.plug_in()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop_listening()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks))
            await asyncio.sleep(0)

    async def plug_in(self) -> None:
        """Listen, on the port of the first time."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def unplug(self) -> None:
        """Nobody listens any more; open connections are reset."""
        await self._stop_listening()
        self.reset()

    async def _stop_listening(self) -> None:
        assert self._server is not None
        # What was accepted in this very moment is some turns of the loop away from its task, which alone can close its socket; and asyncio
        # forgets the socket altogether when the server is closed between two of them.
        loop = asyncio.get_running_loop()
        for listening in self._server.sockets:
            loop.remove_reader(listening.fileno())
        for _ in range(_TURNS_TO_BEGIN):
            await asyncio.sleep(0)
        self._server.close()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    # ------------------------------------------------------------ trouble

    def freeze(self) -> None:
        """Forward nothing more, and close nothing: the other side has silently gone."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Forward again, what waited first."""
        self._flowing.set()

    def refuse(self, refusing: bool = True) -> None:
        """Reset new connections at once."""
        self._refusing = refusing

    def reset(self) -> None:
        """Reset every connection, on both sides."""
        for connection in set(self._connections):
            connection.reset()

    def cut(self, *, requests_after: int | None = None, answers_after: int | None = None) -> None:
        """Reset each open connection when so many more bytes of a direction have been forwarded."""
        for connection in self._connections:
            connection.requests_left = requests_after
            connection.answers_left = answers_after

    def hold_request(self, needle: bytes) -> Picked:
        """Hold the next request that contains ``needle`` back until it is released, even if its client has gone by then."""
        return self._pick(Picked(needle, holds_request=True))

    def withhold_answer(self, needle: bytes) -> Picked:
        """Deliver the next request that contains ``needle`` and keep its answer until it is released."""
        return self._pick(Picked(needle, holds_request=False))

    def _pick(self, picked: Picked) -> Picked:
        self._picks.append(picked)
        return picked

    # ------------------------------------------------------------ forwarding

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the proxy is being closed; a server's connection task has nobody to tell
        finally:
            _abort(writer)
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing or len(self._connections) >= _MOST_CONNECTIONS:
            _abort(writer)
            return
        opening = asyncio.create_task(asyncio.open_connection(*self._target, limit=_CHUNK))
        try:
            server_reader, server_writer = await asyncio.shield(opening)
        except OSError:
            _abort(writer)
            return
        except asyncio.CancelledError:
            # A connection that was opened as the proxy was closed is closed with it.
            with contextlib.suppress(OSError):
                _abort((await opening)[1])
            raise
        connection = _Connection(self, (reader, writer), (server_reader, server_writer))
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def take_pick(self, request: bytes) -> Picked | None:
        """The pick that waits for this request."""
        for picked in self._picks:
            if picked.needle in request:
                self._picks.remove(picked)
                return picked
        return None

    async def flowing(self) -> None:
        """Wait while nothing is forwarded."""
        await self._flowing.wait()


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One client and its connection to the server."""

    def __init__(self, proxy: TcpProxy, client: Stream, server: Stream) -> None:
        self._proxy = proxy
        self._client_reader, self._client_writer = client
        self._server_reader, self._server_writer = server
        self._picked: Picked | None = None
        self.requests_left: int | None = None
        self.answers_left: int | None = None

    async def run(self) -> None:
        """Forward until either side closes; both are closed then."""
        pumps = {asyncio.create_task(self._requests()), asyncio.create_task(self._answers())}
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            for pump in pumps:
                if not pump.cancelled() and isinstance(error := pump.exception(), Exception):
                    assert isinstance(error, OSError), repr(error)
            await asyncio.gather(_close(self._client_writer), _close(self._server_writer))
        finally:
            # The proxy may be closed at any of these awaits: what is closed by then stays so, the rest is reset.
            for pump in pumps:
                pump.cancel()
            if self._picked is not None:
                self._picked.answered.set()
            self.reset()

    def reset(self) -> None:
        """Reset both sides."""
        _abort(self._client_writer)
        _abort(self._server_writer)

    async def _requests(self) -> None:
        before = b""
        while chunk := await self._client_reader.read(_CHUNK):
            picked = self._proxy.take_pick(before + chunk)
            # The needle may be divided by the edge of a chunk.
            before = chunk[-256:]
            if picked is not None:
                self._picked = picked
                picked.connection, picked.request = self, chunk
                picked.seen.set()
                if picked.holds_request:
                    await picked.released.wait()
            await asyncio.sleep(self._proxy.delay_requests_s)
            self.requests_left = await self._forward(chunk, self._server_writer, self.requests_left)
        if self._picked is not None and self._picked.holds_request:
            # The client has gone; the server must still have the time to answer.
            async with asyncio.timeout(_GIVE_UP_S):
                await self._picked.answered.wait()

    async def _answers(self) -> None:
        while chunk := await self._server_reader.read(_CHUNK):
            picked = self._picked
            if picked is not None and not picked.answered.is_set():
                picked.answer = chunk
                picked.answered.set()
                if not picked.holds_request:
                    await picked.released.wait()
            await asyncio.sleep(self._proxy.delay_answers_s)
            self.answers_left = await self._forward(chunk, self._client_writer, self.answers_left)

    async def _forward(self, chunk: bytes, writer: asyncio.StreamWriter, left: int | None) -> int | None:
        await self._proxy.flowing()
        if left is not None and len(chunk) >= left:
            writer.write(chunk[:left])
            with contextlib.suppress(OSError):
                await writer.drain()
            self.reset()
            raise ConnectionAbortedError("cut")
        writer.write(chunk)
        await writer.drain()
        return None if left is None else left - len(chunk)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close in order, so that what was written arrives; not for ever, since the other side may have stopped reading."""
    writer.close()
    with contextlib.suppress(OSError):
        try:
            async with asyncio.timeout(1):
                await writer.wait_closed()
        except TimeoutError:
            writer.transport.abort()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() != -1:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
