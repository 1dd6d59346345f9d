"""How commands report errors: one line per problem on standard error, no traceback, and an exit code that scripts can tell apart.

A traceback means a defect of this program; what the user or the world did wrong is told in sentences.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from consumer.errors import AuthenticationFailed, CadenceError, SettingsError, StopService, StoreUnavailable
from consumer.process import ExitCode

__all__ = ["errors_reported", "exit_code", "fail"]


def exit_code(error: CadenceError) -> ExitCode:
    """The code that ``error`` ends a command with."""
    match error:
        case SettingsError():
            return ExitCode.USAGE
        case StopService(permission=True):
            return ExitCode.NOT_PERMITTED
        case AuthenticationFailed(permanent=True):
            return ExitCode.NOT_PERMITTED
        case StopService() | AuthenticationFailed() | StoreUnavailable():
            return ExitCode.UNAVAILABLE
        case _:
            return ExitCode.FAILED


def fail(message: str, code: ExitCode = ExitCode.FAILED) -> typer.Exit:
    """Say why on standard error; raise what is returned."""
    sys.stderr.write(f"{message}\n")
    return typer.Exit(code)


@contextmanager
def errors_reported() -> Iterator[None]:
    """Report the service's own faults and end with their exit code.

    Raises:
        typer.Exit: after reporting.
    """
    try:
        yield
    except CadenceError as error:
        raise fail(str(error), exit_code(error)) from None
