"""Every way in which a handler cannot be loaded, in the words the user reads, all at once."""

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

import consumer
from consumer.delivery import plugins as plugin_lookup
from consumer.delivery.handler_settings import HandlerSpec
from consumer.delivery.loading import load_handlers
from consumer.errors import SettingsError
from consumer.event_types import ALL_TYPES
from consumer.plugin import FunctionHandler

PLUGINS = """
from pydantic import BaseModel, Field
from consumer import BatchHandler, Handler, handler

@handler(on=["run.ended.*", "step.failed"])
async def notify(event, ctx): ...

@handler(on="run.end.*")
async def misspelt(event, ctx): ...

@handler(on=[])
async def nothing(event, ctx): ...

@handler()
def blocking(event, ctx): ...

@handler()
async def single(event): ...

@handler()
async def greedy(event, ctx, more): ...

async def plain(event, ctx): ...

table = {}

class Other: ...

class Sink(Handler):
    class Settings(BaseModel):
        dsn: str
        size: int = Field(default=1, ge=1)
        token: str = Field(default="", alias="api_token")
    async def handle(self, event, ctx): ...

sink = Sink()

class Empty(Handler): ...

class EmptyBatch(BatchHandler):
    async def handle(self, event, ctx): ...

class Blocking(Handler):
    def handle(self, event, ctx): ...

class Narrow(BatchHandler):
    async def handle_batch(self, events): ...

class OldOpen(Handler):
    async def open(self): ...
    async def handle(self, event, ctx): ...

class Demanding(Handler):
    def __init__(self, dsn): ...
    async def handle(self, event, ctx): ...

class NoModel(Handler):
    class Settings: ...
    async def handle(self, event, ctx): ...

class NoBatch(BatchHandler):
    batch_max = 0
    async def handle_batch(self, events, ctx): ...
"""


@pytest.fixture(autouse=True)
def plugins(tmp_path, monkeypatch):
    (tmp_path / "acme_plugins.py").write_text(PLUGINS)
    (tmp_path / "acme_broken.py").write_text("import nowhere_to_be_found\n")
    (tmp_path / "acme_raising.py").write_text(
        textwrap.dedent("raise RuntimeError('first line\\nsecond line')")
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("acme_plugins", "acme_broken", "acme_raising"):
        sys.modules.pop(name, None)


def problems(**specs):
    with pytest.raises(SettingsError) as raised:
        load_handlers({name: HandlerSpec(**spec) for name, spec in specs.items()})
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            "jsonal",
            "no handler is called 'jsonal'; did you mean 'jsonl'? There are: jsonl, kafka, log, postgres, redis_stream, remove_bounced, webhook. Your own: 'module:attribute'",
        ),
        (
            "pulsar",
            "no handler is called 'pulsar'. There are: jsonl, kafka, log, postgres, redis_stream, remove_bounced, webhook. Your own: 'module:attribute'",
        ),
        (":notify", "':notify' is not of the form 'module:attribute'"),
        (
            "acme_missing:notify",
            "'acme_missing:notify' cannot be imported: ModuleNotFoundError: No module named 'acme_missing'",
        ),
        (
            "acme_broken:notify",
            "'acme_broken:notify' cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ("acme_raising:notify", "'acme_raising:notify' cannot be imported: RuntimeError: first line"),
        (
            "handlers.slack:notify",
            (
                "'handlers.slack:notify' cannot be imported: ModuleNotFoundError: No module named 'handlers.slack'; "
                "'handlers' is a package of this service and hides one of yours with that name: rename yours"
            ),
        ),
        (
            "consumer.slack:notify",
            (
                "'consumer.slack:notify' cannot be imported: ModuleNotFoundError: No module named 'consumer.slack'; "
                "'consumer' is a package of this service and hides one of yours with that name: rename yours"
            ),
        ),
        (
            "acme_plugins:notfy",
            "'acme_plugins:notfy': acme_plugins has no attribute 'notfy'; did you mean 'notify'?",
        ),
        (
            "acme_plugins:table",
            (
                "'acme_plugins:table' is 'dict', not a handler; "
                "decorate an async function with @handler(on=[…]), or derive a class from Handler or BatchHandler"
            ),
        ),
        (
            "acme_plugins:plain",
            "'acme_plugins:plain' is a plain function; decorate it with @handler(on=[…])",
        ),
        (
            "acme_plugins:Other",
            "'acme_plugins:Other' is the class Other, which is not a handler; derive it from Handler or BatchHandler",
        ),
        (
            "acme_plugins:sink",
            "'acme_plugins:sink' is an instance of Sink; name the class, each handler gets an instance of its own",
        ),
        (
            "acme_plugins:blocking",
            "'acme_plugins:blocking' is not async; write \"async def blocking(event, ctx)\"",
        ),
        (
            "acme_plugins:single",
            "'acme_plugins:single' takes (event); write \"async def single(event, ctx)\"",
        ),
        (
            "acme_plugins:greedy",
            "'acme_plugins:greedy' takes (event, ctx, more); write \"async def greedy(event, ctx)\"",
        ),
        ("acme_plugins:Empty", "'acme_plugins:Empty' has no method \"async def handle(self, event, ctx)\""),
        (
            "acme_plugins:EmptyBatch",
            "'acme_plugins:EmptyBatch' has no method \"async def handle_batch(self, events, ctx)\"",
        ),
        (
            "acme_plugins:Blocking",
            "'acme_plugins:Blocking': handle is not async; write \"async def handle(self, event, ctx)\"",
        ),
        (
            "acme_plugins:Narrow",
            "'acme_plugins:Narrow': handle_batch takes (self, events); write \"async def handle_batch(self, events, ctx)\"",
        ),
        (
            "acme_plugins:OldOpen",
            "'acme_plugins:OldOpen': open takes (self); write \"async def open(self, settings, ctx)\"",
        ),
        (
            "acme_plugins:Demanding",
            (
                "'acme_plugins:Demanding' cannot be created: TypeError: Demanding.__init__() missing 1 required positional "
                "argument: 'dsn'; its constructor gets no arguments, its open() gets the settings"
            ),
        ),
        (
            "acme_plugins:NoModel",
            "'acme_plugins:NoModel': its Settings is not a pydantic model; derive it from pydantic.BaseModel",
        ),
        (
            "acme_plugins:NoBatch",
            "'acme_plugins:NoBatch': batch_max must be at least 1 and batch_wait at least 0 ms, not 0 and 50",
        ),
    ],
)
def test_what_use_names_must_be_a_handler(use, message):
    assert problems(h={"use": use}) == [f"handlers.h.use: {message}"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"use": "acme_plugins:misspelt"},
            "the handler's own pattern 'run.end.*' selects no event type; did you mean 'run.ended.*'?",
        ),
        (
            {"use": "log", "on": ["step.fialed"]},
            "pattern 'step.fialed' selects no event type; did you mean 'step.failed'?",
        ),
        ({"use": "log", "on": ["xyz"]}, "pattern 'xyz' selects no event type"),
        ({"use": "log", "on": []}, '"on" selects nothing; name event types, or leave it out'),
        (
            {"use": "acme_plugins:nothing"},
            'the handler\'s own "on" selects nothing; name event types, or leave it out',
        ),
    ],
)
def test_patterns_must_select_event_types(spec, message):
    assert problems(h=spec) == [f"handlers.h.on: {message}"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"use": "acme_plugins:Sink"}, ["settings.dsn: is needed"]),
        (
            {"use": "acme_plugins:Sink", "settings": {"dsn": "x", "size": 0}},
            ["settings.size: input should be greater than or equal to 1"],
        ),
        (
            {"use": "acme_plugins:Sink", "settings": {"dsn": "x", "siez": 3}},
            [
                "settings.siez: is not a setting of 'acme_plugins:Sink'; did you mean 'size'? There are: api_token, dsn, size."
            ],
        ),
        (
            {"use": "acme_plugins:Sink", "settings": {"token": "s3cret"}},
            [
                (
                    "settings.token: is not a setting of 'acme_plugins:Sink'; did you mean 'api_token'? "
                    "There are: api_token, dsn, size."
                ),
                "settings.dsn: is needed",
            ],
        ),
        (
            {"use": "log", "settings": {"level": "info"}},
            ["settings.level: is not a setting of 'log'. The handler takes none."],
        ),
    ],
)
def test_settings_are_validated_by_the_handlers_model(spec, expected):
    assert problems(h=spec) == [f"handlers.h.{line}" for line in expected]


def test_a_secret_in_the_wrong_cursor_is_not_repeated():
    assert "s3cret" not in "".join(
        problems(h={"use": "acme_plugins:Sink", "settings": {"dsn": "x", "size": "s3cret"}})
    )


def test_all_problems_of_all_handlers_are_reported_at_once():
    assert [
        line.partition(": ")[0]
        for line in problems(
            a={"use": "nope", "on": ["nope.*"]},
            b={"use": "acme_plugins:Sink", "on": ["run.x"], "settings": {"size": 0}},
            good={"use": "log"},
            c={"use": "acme_plugins:blocking"},
        )
    ] == [
        "handlers.a.use",
        "handlers.a.on",
        "handlers.b.on",
        "handlers.b.settings.dsn",
        "handlers.b.settings.size",
        "handlers.c.use",
    ]


def test_handlers_are_loaded_by_name_or_by_module_and_attribute():
    loaded = load_handlers(
        {
            "everything": HandlerSpec(use="log"),
            "notify": HandlerSpec(use="acme_plugins:notify"),
            "narrow": HandlerSpec(use="acme_plugins:notify", on="run.enrolled, run.started"),
            "off": HandlerSpec(use="does not matter", enabled=False),
        }
    )
    assert [one.name for one in loaded] == ["everything", "notify", "narrow"]
    everything, notify, narrow = loaded
    assert everything.types == frozenset(ALL_TYPES)
    assert isinstance(notify.handler, FunctionHandler)
    assert "step.failed" in notify.types
    assert "run.ended.exited" in notify.types
    assert "run.enrolled" not in notify.types
    assert narrow.types == {"run.enrolled", "run.started"}
    assert notify.concurrency == 8


def test_the_same_class_may_be_enabled_twice_with_settings_and_an_instance_of_its_own():
    one, two = load_handlers(
        {
            "one": HandlerSpec(use="acme_plugins:Sink", settings={"dsn": "a"}),
            "two": HandlerSpec(
                use="acme_plugins:Sink", settings={"dsn": "b", "api_token": "t"}, concurrency=3
            ),
        }
    )
    assert one.handler is not two.handler
    assert (one.settings.dsn, two.settings.dsn, two.settings.token) == ("a", "b", "t")
    assert two.concurrency == 3


def test_batches_are_taken_one_at_a_time_unless_the_settings_say_otherwise(tmp_path):
    spec = HandlerSpec(use="jsonl", settings={"path": str(tmp_path / "x")})
    (one,) = load_handlers({"x": spec})
    assert one.concurrency == 1


def test_a_package_of_the_users_that_hides_the_built_in_handlers_is_named(tmp_path, monkeypatch):
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "__init__.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "handlers"]:
        monkeypatch.delitem(sys.modules, name)
    assert problems(h={"use": "log"}) == [
        (
            f"handlers.h.use: the built-in 'log' is hidden by {tmp_path / 'handlers'}, a package of yours with the name "
            "'handlers'; rename yours"
        )
    ]


def test_a_name_that_two_packages_offer_is_ambiguous(monkeypatch):
    both = [EntryPoint("sink", value, plugin_lookup.GROUP) for value in ("acme_plugins:Sink", "other:Sink")]
    monkeypatch.setattr("consumer.delivery.plugins.entry_points", lambda group: both)
    assert problems(h={"use": "sink"}) == [
        "handlers.h.use: 'sink' is offered by several packages: 'acme_plugins:Sink' and 'other:Sink'; write the one you mean instead"
    ]


def test_handler_authors_find_everything_in_consumer():
    needed = {"handler", "Handler", "BatchHandler", "Context", "LifecycleEvent", "Retry", "Reject", "Failed"}
    assert needed <= set(consumer.__all__)
