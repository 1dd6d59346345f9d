"""Loading of handlers from the settings, with all problems reported at once.

Loading imports, inspects and validates; it calls nothing of a handler but the constructor of its class, which takes no arguments. A
problem with any handler stops the start, so that a misspelt ``on`` is found then and not at three in the morning.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, BaseModel, ValidationError

from consumer.delivery.handler_settings import HandlerSpec
from consumer.delivery.plugins import HandlerNotFound, did_you_mean, resolve
from consumer.delivery.retry import one_line
from consumer.errors import SettingProblem, SettingsError
from consumer.event_types import ALL_TYPES, matching_types
from consumer.plugin import BatchHandler, FunctionHandler, Handler

__all__ = ["LoadedHandler", "load_handler", "load_handlers"]

DEFAULT_CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class LoadedHandler:
    """Loaded and validated handler.

    Attributes:
        name: name in the settings, under which its cursor is stored.
        spec: its settings section.
        types: event types that it gets.
        handler: the handler itself.
        settings: its own settings, the argument of its ``open``.
    """

    name: str
    spec: HandlerSpec
    types: frozenset[str]
    handler: Handler | BatchHandler
    settings: BaseModel

    @property
    def has_predicate(self) -> bool:
        """True when the handler has a predicate of its own."""
        if isinstance(self.handler, FunctionHandler):
            return self.handler.when is not None
        return not getattr(type(self.handler).wants, "takes_everything", False)

    @property
    def concurrency(self) -> int:
        """Largest number of calls at the same time."""
        return self.spec.concurrency or (1 if isinstance(self.handler, BatchHandler) else DEFAULT_CONCURRENCY)

    @property
    def batch_size(self) -> int:
        """Largest number of events in one call."""
        return self.handler.batch_max if isinstance(self.handler, BatchHandler) else 1

    @property
    def batch_wait_ms(self) -> int:
        """Milliseconds to wait for a batch to fill up; 0 for handlers of single events."""
        return self.handler.batch_wait if isinstance(self.handler, BatchHandler) else 0


def load_handlers(specs: Mapping[str, HandlerSpec]) -> list[LoadedHandler]:
    """Load every enabled handler.

    Args:
        specs: settings sections ``handlers.<name>``.

    Raises:
        SettingsError: with every problem of every handler, under ``handlers.<name>.use``, ``.on`` and ``.settings.<key>``.
    """
    problems: list[SettingProblem] = []
    loaded: list[LoadedHandler] = []
    for name, spec in specs.items():
        if not spec.enabled:
            continue
        loaded_handler = _HandlerLoader(name, spec, problems).load()
        if loaded_handler is not None:
            loaded.append(loaded_handler)
    if problems:
        raise SettingsError(problems)
    return loaded


def load_handler(
    name: str, spec: HandlerSpec, value: object | None = None
) -> tuple[LoadedHandler | None, list[SettingProblem]]:
    """Load one handler; None with every problem if there are any.

    Args:
        name: name in the settings.
        spec: settings section.
        value: the handler itself, where the caller has it; None to look up the value of ``use``.
    """
    problems: list[SettingProblem] = []
    return _HandlerLoader(name, spec, problems, value).load(), problems


class _HandlerLoader:
    """Loader of one handler, which adds its problems to ``problems``."""

    def __init__(
        self, name: str, spec: HandlerSpec, problems: list[SettingProblem], value: object | None = None
    ) -> None:
        self._given_handler = value
        self._name = name
        self._spec = spec
        self._problems = problems

    def load(self) -> LoadedHandler | None:
        before = len(self._problems)
        handler = self._handler()
        if handler is None:
            if self._spec.on is not None:
                self._types(self._spec.on, "")
            return None
        uses_own_types = self._spec.on is None
        types = self._types(
            handler.on if uses_own_types else self._spec.on or (),
            "the handler's own " if uses_own_types else "",
        )
        settings = self._settings(type(handler).Settings)
        if settings is None or len(self._problems) > before:
            return None
        return LoadedHandler(self._name, self._spec, types, handler, settings)

    def _problem(self, setting: str, message: str) -> None:
        self._problems.append(SettingProblem(f"handlers.{self._name}.{setting}", message))

    def _handler(self) -> Handler | BatchHandler | None:
        use = self._spec.use
        try:
            value = resolve(use) if self._given_handler is None else self._given_handler
        except HandlerNotFound as problem:
            self._problem("use", str(problem))
            return None
        if isinstance(value, FunctionHandler):
            return value if self._check_signature(value.function, ("event", "ctx"), bound=True) else None
        if isinstance(value, type) and issubclass(value, Handler | BatchHandler):
            return self._instantiate(value)
        if isinstance(value, Handler | BatchHandler):
            what = f"an instance of {type(value).__name__}; name the class, each handler gets an instance of its own"
        elif inspect.iscoroutinefunction(value):
            what = "a plain function; decorate it with @handler(on=[…])"
        elif isinstance(value, type):
            what = (
                f"the class {value.__name__}, which is not a handler; derive it from Handler or BatchHandler"
            )
        else:
            what = (
                f"{type(value).__name__!r}, not a handler; "
                "decorate an async function with @handler(on=[…]), or derive a class from Handler or BatchHandler"
            )
        self._problem("use", f"{use!r} is {what}")
        return None

    def _instantiate(self, plugin: type[Handler | BatchHandler]) -> Handler | BatchHandler | None:
        use = self._spec.use
        batch = issubclass(plugin, BatchHandler)
        method, arguments = ("handle_batch", ("events", "ctx")) if batch else ("handle", ("event", "ctx"))
        if inspect.isabstract(plugin):
            self._problem("use", f'{use!r} has no method "async def {method}(self, {", ".join(arguments)})"')
            return None
        valid = self._check_signature(getattr(plugin, method), arguments, bound=False, method=method)
        valid &= self._check_signature(plugin.open, ("settings", "ctx"), bound=False, method="open")
        valid &= self._check_signature(plugin.close, (), bound=False, method="close")
        model: object = plugin.Settings
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            self._problem(
                "use", f"{use!r}: its Settings is not a pydantic model; derive it from pydantic.BaseModel"
            )
            valid = False
        if not valid:
            return None
        try:
            instance = plugin()
        except Exception as error:  # noqa: BLE001 - a plugin's constructor may raise anything, and it is reported with all other problems
            self._problem(
                "use",
                f"{use!r} cannot be created: {one_line(error)}; its constructor gets no arguments, its open() gets the settings",
            )
            return None
        if isinstance(instance, BatchHandler) and not (instance.batch_max >= 1 and instance.batch_wait >= 0):
            self._problem(
                "use",
                f"{use!r}: batch_max must be at least 1 and batch_wait at least 0 ms, "
                f"not {instance.batch_max} and {instance.batch_wait}",
            )
            return None
        return instance

    def _check_signature(
        self, function: Any, arguments: tuple[str, ...], *, bound: bool, method: str = ""
    ) -> bool:
        """Return true when ``function`` is async and accepts these arguments."""
        use = self._spec.use
        given = arguments if bound else ("self", *arguments)
        name = method or getattr(function, "__name__", "handle")
        expected = f'"async def {name}({", ".join(given)})"'
        where = f"{use!r}: {method}" if method else repr(use)
        if not inspect.iscoroutinefunction(function):
            self._problem("use", f"{where} is not async; write {expected}")
            return False
        signature = inspect.signature(function)
        try:
            signature.bind(*given)
        except TypeError:
            self._problem("use", f"{where} takes {_parameters(signature)}; write {expected}")
            return False
        return True

    def _types(self, patterns: Iterable[str], prefix: str) -> frozenset[str]:
        given = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        if not given:
            self._problem("on", f'{prefix}"on" selects nothing; name event types, or leave it out'.lstrip())
        types: set[str] = set()
        for pattern in given:
            selected = matching_types(pattern)
            types |= selected
            if not selected:
                self._problem(
                    "on",
                    f"{prefix}pattern {pattern!r} selects no event type{did_you_mean(pattern, _PATTERNS)}",
                )
        return frozenset(types)

    def _settings(self, model: type[BaseModel]) -> BaseModel | None:
        given = self._spec.settings
        known = _accepted_keys(model)
        unknown = (
            [] if model.model_config.get("extra") == "allow" else [key for key in given if key not in known]
        )
        for key in unknown:
            known_settings = (
                f" There are: {', '.join(sorted(known))}." if known else " The handler takes none."
            )
            suggestion = did_you_mean(key, known) or "."
            self._problem(
                f"settings.{key}", f"is not a setting of {self._spec.use!r}{suggestion}{known_settings}"
            )
        try:
            settings = model.model_validate(
                {key: value for key, value in given.items() if key not in unknown}
            )
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False, include_input=False):  # the input may be a secret
                setting = ".".join(("settings", *(str(part) for part in error["loc"])))
                self._problem(
                    setting, "is needed" if error["type"] == "missing" else _lower_first(error["msg"])
                )
            return None
        return None if unknown else settings


_PATTERNS = (*ALL_TYPES, *sorted({f"{name[: name.rindex('.')]}.*" for name in ALL_TYPES}))


def _parameters(signature: inspect.Signature) -> str:
    return f"({', '.join(str(p.replace(annotation=p.empty)) for p in signature.parameters.values())})"


def _lower_first(text: str) -> str:
    text = text.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _accepted_keys(model: type[BaseModel]) -> set[str]:
    """Keys under which a model accepts its fields."""
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        if alias is None or by_name:
            keys.add(name)
        if isinstance(alias, str):
            keys.add(alias)
        elif alias is not None:
            choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
            keys.update(choice if isinstance(choice, str) else str(choice.path[0]) for choice in choices)
    return keys
