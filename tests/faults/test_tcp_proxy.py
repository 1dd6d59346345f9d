"""The fault proxy closes what it accepted, whenever it is itself closed: a socket left open fails some later, innocent test."""

import asyncio
import gc
import socket
import sys

import pytest

from tests.support.servers.tcp_proxy import TcpProxy


async def _closed_after(turns: int) -> None:
    """A proxy that is closed so many turns of the loop after clients connected, on its way to a server that answers."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1):
            pass
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    clients = [socket.socket() for _ in range(4)]
    try:
        async with TcpProxy(server.sockets[0].getsockname()[1]) as proxy:
            for client in clients:
                client.connect(("127.0.0.1", proxy.port))
            clients.pop().close()  # its connection ends in order, at the same time
            for _ in range(turns):
                await asyncio.sleep(0)
        assert proxy.connections == 0
    finally:
        for client in clients:
            client.close()
        server.close()
        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(40))
def test_a_proxy_that_is_closed_leaves_no_socket_open(turns, monkeypatch):
    left = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: left.append(repr(what.exc_value)))
    asyncio.run(_closed_after(turns))
    gc.collect()
    assert left == []
