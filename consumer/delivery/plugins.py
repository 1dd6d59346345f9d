"""Lookup of the handler that ``use`` names: entry point or ``module:attribute``.

The built-in handlers are entry points like all others. An object that cannot be found is explained, and so is a trap: a user's own package
called ``handlers`` or ``consumer``, which hides the service's package or is hidden by it.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import consumer
from consumer.delivery.retry import one_line

__all__ = ["GROUP", "HandlerNotFound", "did_you_mean", "installed_handlers", "resolve"]

GROUP = "cadence_consumer.handlers"

_OWN_PACKAGES = ("consumer", "handlers")


class HandlerNotFound(Exception):
    """``use`` names no usable handler; the message says why and what to do."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def installed_handlers() -> dict[str, list[EntryPoint]]:
    """Return the handlers of all installed packages by name.

    A name with several entry points is ambiguous.
    """
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        same = found.setdefault(entry.name, [])
        if all(entry.value != other.value for other in same):
            same.append(entry)
    return found


def resolve(use: str) -> object:
    """Object that ``use`` names.

    Raises:
        HandlerNotFound: there is none, or it cannot be imported.
    """
    if ":" in use:
        return _attribute(use, use)
    known = installed_handlers()
    entries = known.get(use, [])
    if not entries:
        names = ", ".join(sorted(known)) or "none"
        suggestion = did_you_mean(use, known) or "."
        raise HandlerNotFound(
            f"no handler is called {use!r}{suggestion} There are: {names}. Your own: 'module:attribute'"
        )
    if len(entries) > 1:
        values = " and ".join(sorted(repr(entry.value) for entry in entries))
        raise HandlerNotFound(
            f"{use!r} is offered by several packages: {values}; write the one you mean instead"
        )
    return _attribute(entries[0].value, use)


def _attribute(target: str, use: str) -> object:
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise HandlerNotFound(f"{use!r} is not of the form 'module:attribute'")
    top = module_name.partition(".")[0]
    if top in _OWN_PACKAGES and target != use and (other := _shadowed_by(top)):
        raise HandlerNotFound(
            f"the built-in {use!r} is hidden by {other}, a package of yours with the name {top!r}; rename yours"
        )
    try:
        value: object = importlib.import_module(module_name)
    except Exception as error:
        hint = ""
        if isinstance(error, ModuleNotFoundError) and top in _OWN_PACKAGES:
            hint = (
                f"; {top!r} is a package of this service and hides one of yours with that name: rename yours"
            )
        raise HandlerNotFound(f"{use!r} cannot be imported: {one_line(error)}{hint}") from error
    for part in path.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise HandlerNotFound(
                f"{use!r}: {module_name} has no attribute {part!r}{did_you_mean(part, _public(value))}"
            ) from None
    return value


def _public(value: object) -> list[str]:
    return [name for name in dir(value) if not name.startswith("_")]


def _shadowed_by(package: str) -> str | None:
    """Return the path of another package that hides the service's ``package``."""
    root = Path(consumer.__file__).resolve().parent.parent
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # in sys.modules without a spec, as a module that a test made
        return "something in sys.modules"
    if spec is None:
        return None
    locations = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    if any(Path(location).resolve() == root / package for location in locations):
        return None
    return locations[0]
