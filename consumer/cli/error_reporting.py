"""Error reports of commands: one line per problem, and an exit code.

Only a defect of this program shows a traceback; errors of users, settings and servers have a message and an exit code for scripts.
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
    """Map an error to the exit code of the command."""
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
    """Print a message on standard error; return the exception to raise."""
    sys.stderr.write(f"{message}\n")
    return typer.Exit(code)


@contextmanager
def errors_reported() -> Iterator[None]:
    """Report the service's errors and exit with their code.

    Raises:
        typer.Exit: after the report.
    """
    try:
        yield
    except CadenceError as error:
        raise fail(str(error), exit_code(error)) from None
