"""HTTP exchange with Salesforce.

The answer is read to its end within a budget, or the exchange fails.

No other module reads what Salesforce sends. Answers are decompressed here, piece by piece, because aiohttp decompresses a piece of the
wire to any size; the event loop runs between the pieces. Redirects are never followed, because the token would follow them. Every
exception of a library (aiohttp, ssl, zlib, yarl …) becomes an :class:`HttpFault`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from consumer.errors import CadenceError
from consumer.safe_json import parse

__all__ = [
    "ACCEPT_ENCODING",
    "INLINE_BYTES",
    "HttpAnswer",
    "HttpFault",
    "exchange",
    "parse_json",
    "read_body",
]

ACCEPT_ENCODING: Final = "gzip, deflate"
"""Encodings that are decompressed here; an answer in any other is refused."""

_PIECE: Final = 256 * 1024
"""Maximum number of bytes that are decompressed at once."""
_KEPT: Final = 64 * 1024
"""Bytes that are kept of an answer that was not read to its end."""
INLINE_BYTES: Final = 256 * 1024
"""Maximum number of bytes that are parsed in the event loop."""


class HttpFault(CadenceError):
    """Exchange without a complete answer.

    Attributes:
        code: ``unreachable``, ``timeout``, ``truncated``, ``bad_encoding``, ``answer_too_large`` or ``bad_request``.
        detail: observation, one line.
        unsent: whether the request certainly did not reach the server.
        body: beginning of the answer, where it is worth keeping.
    """

    def __init__(self, code: str, detail: str, *, unsent: bool = False, body: bytes | None = None) -> None:
        self.code = code
        self.detail = detail
        self.unsent = unsent
        self.body = body
        super().__init__(f"{code}: {detail}")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Complete answer.

    Attributes:
        status: HTTP status.
        body: decompressed.
        headers: headers as received; names are case-insensitive.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]


async def exchange(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    max_bytes: int,
    headers: Mapping[str, str],
    **options: Any,
) -> HttpAnswer:
    """Send a request and read its answer completely.

    Args:
        http: client session, with the timeouts of the request.
        method: ``GET`` or ``POST``.
        url: URL, made by :class:`consumer.salesforce.origin.Origin` where a token is sent with it.
        max_bytes: maximum size of the answer, decompressed.
        headers: headers of the request.
        options: further options of aiohttp.

    Raises:
        HttpFault: no complete answer arrived.
    """
    try:
        async with http.request(
            method,
            url,
            headers={"Accept-Encoding": ACCEPT_ENCODING, **headers},
            allow_redirects=False,
            auto_decompress=False,
            **options,
        ) as response:
            return HttpAnswer(response.status, await read_body(response, max_bytes), response.headers)
    except HttpFault:
        raise
    except Exception as error:
        raise fault_of(error) from error


def fault_of(error: Exception) -> HttpFault:
    """Translate a library's exception."""
    detail = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return HttpFault("bad_request", f"not an HTTP URL: {detail}", unsent=True)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return HttpFault("unreachable", detail, unsent=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return HttpFault("truncated", detail)
    if isinstance(error, TimeoutError):
        return HttpFault("timeout", detail)
    if isinstance(error, aiohttp.ClientError | OSError):
        return HttpFault("unreachable", detail)
    return HttpFault("unreachable", f"{type(error).__name__}: {detail}")


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read and decompress the body of an answer that aiohttp has not decompressed.

    Raises:
        HttpFault: ``answer_too_large``, ``bad_encoding`` or ``truncated``.
    """
    decoder = _Decoder(response.headers.get("Content-Encoding", ""))
    body = bytearray()
    received = 0
    async for chunk in response.content.iter_any():
        received += len(chunk)
        for piece in decoder.pieces(chunk):
            body += piece[: max_bytes + 1 - len(body)]
            if len(body) > max_bytes:
                break
            if len(piece) == _PIECE:
                await asyncio.sleep(0)
        if max(received, len(body)) > max_bytes:
            response.close()
            raise HttpFault(
                "answer_too_large",
                f"the answer has more than {max_bytes} bytes",
                body=bytes(body[:_KEPT]),
            )
    if not decoder.is_complete:
        raise HttpFault("truncated", "the compressed answer is incomplete")
    return bytes(body)


class _Decoder:
    """Decoder of one body, in pieces of bounded size."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise HttpFault("bad_encoding", f"the answer is encoded as {self._encoding[:40]!r}")
        self._is_plain = self._encoding in ("", "identity")
        self._inflater: Any = None

    @property
    def is_complete(self) -> bool:
        """True when no compressed member is incomplete."""
        return self._inflater is None or self._inflater.eof

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Decode a piece of the wire.

        Raises:
            HttpFault: the piece is not encoded as the header states.
        """
        if self._is_plain:
            yield chunk
            return
        is_full = False
        while chunk or is_full:
            if self._inflater is None or self._inflater.eof:
                # A body may have several members.
                if not chunk.strip(b"\0"):
                    return  # padding after the last member
                self._inflater = zlib.decompressobj(wbits=self._window(chunk))
            try:
                piece = self._inflater.decompress(chunk, _PIECE)
            except zlib.error as error:
                raise HttpFault(
                    "bad_encoding", f"the answer is not encoded as its header states: {error}"
                ) from error
            is_full = len(piece) == _PIECE and not self._inflater.eof
            chunk = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            if piece:
                yield piece

    def _window(self, chunk: bytes) -> int:
        if self._encoding != "deflate":
            return zlib.MAX_WBITS | 16
        # Servers send this with the zlib header that the standard demands, or without.
        return zlib.MAX_WBITS if chunk[0] & 0xF == 8 else -zlib.MAX_WBITS


async def parse_json(body: bytes) -> Any:
    """Parse the JSON of an answer, a large one in a thread.

    None when it cannot be used.
    """
    if len(body) <= INLINE_BYTES:
        return parse(body)
    return await asyncio.to_thread(parse, body)
