"""Log lines on standard error, as JSON or text, never with a secret.

Every line passes one chain of processors, those that libraries log through the standard library included. No part of the service logs a
token or a key on purpose; :class:`Redactor` is the second line of defence and removes every registered secret from every string, in each of
its spellings (as it is, percent-encoded, and line by line for a PEM key).
"""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, TextIO
from urllib.parse import quote, quote_plus

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from consumer.safe_text import text_of

__all__ = ["Redactor", "configure_logging"]

HIDDEN = "[secret]"
"""Replacement of a secret."""

MIN_SECRET_LENGTH = 4
"""Characters; shorter secrets are not searched for, because they would garble every line."""

MAX_EXCEPTION_LENGTH = 32_768
"""Characters of a traceback, and of a value that had to be made printable; the middle of a longer traceback is left out."""

MAX_LEARNED = 64
"""Number of access tokens remembered, so that a service that signs in every minute for months does not grow."""

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Redactor:
    """Structlog processor that removes secrets, also from nested values.

    Strings, bytes, keys, lists and mappings are searched.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._registered: frozenset[str] = frozenset()
        self._learned: deque[str] = deque(maxlen=MAX_LEARNED)
        self._spellings: tuple[str, ...] = ()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Remove ``secret`` from every later line."""
        self._registered |= {secret}
        self._update_spellings()

    def learn(self, secret: str) -> None:
        """Remove an access token from later lines.

        It is forgotten when :data:`MAX_LEARNED` newer tokens have followed.
        """
        if secret not in self._learned:
            self._learned.append(secret)
            self._update_spellings()

    def _update_spellings(self) -> None:
        known: set[str] = set()
        for secret in (*self._registered, *self._learned):
            known |= {secret, quote(secret, safe=""), quote_plus(secret)}
            if "\n" in secret:
                # A key is long and wrapped, and its lines occur one by one. The dashed lines are not secret.
                known |= {line for line in secret.splitlines() if not line.startswith("-----")}
        known = {spelling for spelling in known if len(spelling) >= MIN_SECRET_LENGTH}
        # Longest first, so that a secret that contains another one is removed as a whole.
        self._spellings = tuple(sorted(known, key=lambda spelling: (-len(spelling), spelling)))

    def text(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for spelling in self._spellings:
            if spelling in text:
                text = text.replace(spelling, HIDDEN)
        return text

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG002
        """Return ``event`` without secrets; structlog calls it for every line."""
        if not self._spellings:
            return event
        return {self.text(key): self._clean(value) for key, value in event.items()}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "backslashreplace"))
        if isinstance(value, Mapping):
            return {self._clean(key): self._clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(item) for item in value]
        return self.text(text_of(value))


class _Stderr:
    """Standard error at the time of writing.

    A test runner or live view that replaces it later gets the lines. A line that cannot be written - a handler has closed the stream, the
    reader of the pipe has gone, the disk is full - is lost, and nothing else.
    """

    def write(self, line: bytes) -> int:
        try:
            return self._write(line)
        except Exception:  # noqa: BLE001 - there is nothing left that an error could be written to
            return len(line)

    def flush(self) -> None:
        with suppress(Exception):
            sys.stderr.flush()
            buffer = getattr(sys.stderr, "buffer", None)
            if buffer is not None:
                buffer.flush()

    @staticmethod
    def _write(line: bytes) -> int:
        stream: TextIO = sys.stderr
        buffer = getattr(stream, "buffer", None)
        if buffer is None:
            return stream.write(line.decode())
        stream.flush()
        return int(buffer.write(line))


def _as_json(event: EventDict, **_: Any) -> bytes:
    # The keys that a reader looks for come first.
    head = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return orjson.dumps({**head, **event}, default=text_of, option=orjson.OPT_NON_STR_KEYS)


class _Rendered:
    """Last processor for a console; renders bytes for the same sink."""

    def __init__(self, colors: bool) -> None:
        self._renderer = structlog.dev.ConsoleRenderer(
            colors=colors,
            # Tracebacks were formatted before the redactor saw them; pretty ones would show local variables.
            exception_formatter=structlog.dev.plain_traceback,
        )

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        return self._renderer(logger, method, event).encode("utf-8", "backslashreplace")


class _UnfailingRenderer:
    """Last processor: formats exceptions, redacts and renders, and never raises.

    What was logged may come from anybody: text that no encoding has, objects that raise when they are looked at, structures that contain
    themselves. Where the line cannot be made as it is, its values are made printable one by one; where that fails too, a plain line says
    so. Nobody who logs gets an exception.
    """

    def __init__(self, redactor: Redactor, renderer: Processor) -> None:
        self._redactor = redactor
        self._renderer = renderer

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        try:
            event = structlog.processors.format_exc_info(logger, method, dict(event))
            return self._render(logger, method, dict(event))
        except BaseException as error:  # noqa: BLE001 - a foreign object raises anything; whoever logs must not fail with the line
            failure = type(error).__name__
        try:
            printable = {text_of(key): _printable(value) for key, value in event.items()}
            return self._render(logger, method, {**printable, "log_error": failure})
        except Exception:  # noqa: BLE001 - as above
            return b'{"level":"error","event":"log_line_failed","log_error":"%s"}' % failure.encode(
                "utf-8", "backslashreplace"
            )

    def _render(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        event = self._redactor(logger, method, event)
        exception = event.get("exception")
        if isinstance(exception, str) and len(exception) > MAX_EXCEPTION_LENGTH:
            event = {
                **event,
                "exception": _shortened(exception),
            }  # redacted before, lest half a secret be left
        line = self._renderer(logger, method, event)
        assert isinstance(line, bytes)
        return line


def _shortened(text: str) -> str:
    half = MAX_EXCEPTION_LENGTH // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _printable(value: object) -> object:
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    text = text_of(value)
    return text if len(text) <= MAX_EXCEPTION_LENGTH else _shortened(text)


class _FromStandardLibrary(logging.Handler):
    """Handler that passes the lines of libraries through the service's processors."""

    def __init__(self, processors: list[Processor]) -> None:
        super().__init__()
        self._processors = processors
        self._sink = _Stderr()

    def emit(self, record: logging.LogRecord) -> None:
        value: Any = {
            "event": _message_of(record),
            "logger": record.name,
            "level": record.levelname.lower(),
        }
        if record.exc_info:
            value["exc_info"] = record.exc_info
        for processor in self._processors:
            value = processor(None, record.levelname.lower(), value)
        self._sink.write(value + b"\n")
        self._sink.flush()


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except BaseException as error:  # noqa: BLE001 - wrong arguments, or one that raises when it is looked at
        return f"{text_of(record.msg)} (its arguments do not fit: {type(error).__name__})"


def configure_logging(
    level: Literal["debug", "info", "warning", "error"] = "info",
    style: Literal["auto", "console", "json"] = "auto",
    redactor: Redactor | None = None,
) -> None:
    """Configure structlog and the standard library's logging; the last call wins.

    Args:
        level: lowest severity that is written; lines of libraries at least from ``warning`` on.
        style: ``auto`` is ``console`` on a terminal and ``json`` elsewhere.
        redactor: removes secrets; more can be added to it later.
    """
    terminal = sys.stderr.isatty()
    if style == "auto":
        style = "console" if terminal else "json"
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_as_json)
        if style == "json"
        else _Rendered(colors=terminal and not os.environ.get("NO_COLOR"))
    )
    shared: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _UnfailingRenderer(redactor or Redactor(), renderer),
    ]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *shared],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        logger_factory=structlog.BytesLoggerFactory(file=_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _FromStandardLibrary)]:
        root.removeHandler(old)
    root.addHandler(_FromStandardLibrary(shared))
    root.setLevel(max(_LEVELS[level], logging.WARNING))
