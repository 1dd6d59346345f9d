"""The pages are true: their derived parts, links, examples, commands, and the names of metrics, settings and log events in them."""

import re
import tomllib
from pathlib import Path

import pytest

from consumer.domain.lifecycle_events import LifecycleEvent
from consumer.telemetry.metric_catalogue import CATALOGUE
from tests.support.builders.readme import (
    ARCHITECTURE,
    BUILT_IN,
    COMMANDS,
    CONTRIBUTING,
    HANDLERS,
    METRICS,
    OPERATION,
    PAGES,
    PARTS,
    PROMISES,
    README,
    ROOT,
    SETTINGS,
    SPEED,
    blocks,
    metrics_page,
    rendered,
)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

# ---------------------------------------------------------------- derived parts


@pytest.mark.parametrize(
    "page", sorted({page for page, _ in PARTS.values()}), ids=lambda page: page.parent.name
)
def test_the_derived_parts_are_those_of_the_code(page):
    assert page.read_text() == rendered(page), "run: python -m tests.support.builders.readme"


def test_every_derived_part_is_on_its_page():
    missing = [name for name, (page, _) in PARTS.items() if f"<!-- {name}: " not in page.read_text()]
    assert missing == []


def test_the_page_of_metrics_is_that_of_the_catalogue():
    assert METRICS.read_text() == metrics_page(), "run: python -m tests.support.builders.readme"


# ---------------------------------------------------------------- links


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def targets(page: Path) -> list[str]:
    """Where the links and pictures of a page lead, also those by reference."""
    text = without_code(page.read_text())
    inline = re.findall(r"\]\(([^)\s]+)\)", text)
    return [*inline, *re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, made as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        plain = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (anchor := f"{plain}-{number}" if number else plain) in found:
            number += 1
        found.add(anchor)
    return found


@pages
def test_every_relative_link_and_anchor_exists(page):
    broken = []
    for target in targets(page):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pages
def test_every_reference_is_defined_and_every_definition_is_used(page):
    text = without_code(page.read_text())
    used = set(re.findall(r"\]\[([^\]]+)\]", text))
    assert used == set(re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE))


def test_every_page_is_one_of_those_that_are_checked():
    found = [
        page
        for folder in (ROOT / "consumer", ROOT / "handlers", ROOT / "deploy", ROOT / "tests")
        for page in folder.rglob("*.md")
        if "node_modules" not in page.parts and page.name != "LICENSE.md"
    ]
    assert sorted(found) == sorted(page for page in PAGES if page.parent != ROOT)


# ---------------------------------------------------------------- the first page


def test_the_first_page_is_short():
    assert len(README.read_bytes()) <= 12_000


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("Configure", SETTINGS),
        ("Write a handler", HANDLERS),
        ("Operate", OPERATION),
        ("Understand", ARCHITECTURE),
        ("Prove", PROMISES),
    ],
)
def test_one_click_leads_from_the_first_page_to_what_one_has_come_for(word, page):
    head, _, _ = README.read_text().partition("\n## ")
    assert f"[{word}]({page.relative_to(ROOT)})" in head, "before the first heading"


def test_the_first_page_leads_to_every_other():
    reached = {(ROOT / target.partition("#")[0]).resolve() for target in targets(README)}
    assert [page for page in PAGES if page != README and page not in reached] == []


def test_what_happens_when_has_ten_rows_and_a_source_or_a_test_in_every_cell():
    text = README.read_text()
    defined = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.MULTILINE))
    _, _, section = text.partition("## What happens when")
    head, _, *rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    assert len(rows) == 10
    assert head[-1].strip() == "this service"
    for case, *others, ours in rows:
        assert len(others) == 3
        for cell in others:
            sources = [defined[name] for name in re.findall(r"\]\[([^\]]+)\]", cell)]
            assert any(source.startswith("https://") for source in sources), (case, cell)
        tests = [defined[name] for name in re.findall(r"\]\[([^\]]+)\]", ours)]
        assert any(test.startswith("tests/") for test in tests), (case, ours)


# ---------------------------------------------------------------- examples


def example(page: Path, first_line: str) -> str:
    (found,) = [block for block in blocks(page, "python") if block.startswith(first_line)]
    return found


def test_the_example_handler_loads(tmp_path, monkeypatch):
    from consumer.delivery.handler_settings import HandlerSpec
    from consumer.delivery.loading import load_handlers

    (tmp_path / "notify.py").write_text(example(README, "# notify.py\n"))
    monkeypatch.syspath_prepend(tmp_path)
    (loaded,) = load_handlers({"notify": HandlerSpec(use="notify:notify")})
    assert "run.ended.finished" in loaded.types
    assert "step.failed" in loaded.types


def test_the_handlers_page_begins_with_the_same_example():
    assert example(HANDLERS, "# notify.py\n") == example(README, "# notify.py\n")


def test_every_python_block_is_run_by_a_test():
    shown = [(page, block) for page in PAGES for block in blocks(page, "python")]
    run = {
        "# notify.py": "here",
        "# cadence-chat/cadence_chat.py": "tests/acceptance/test_tutorial.py",
        "# test_notify.py": "tests/unit/testing/test_feeding.py",
        "from consumer import Context, LifecycleEvent, RemoveTarget, Retry, handler": "tests/unit/handlers/test_remove_bounced.py",
    }
    assert {block.partition("\n")[0] for _, block in shown} == set(run)


def test_the_settings_of_the_built_in_handlers_are_taken():
    from consumer.delivery.handler_settings import HandlerSpec
    from consumer.delivery.loading import load_handlers

    shown = {}
    for block in blocks(HANDLERS, "toml"):
        for name, section in tomllib.loads(block).get("handlers", {}).items():
            if section["use"] in BUILT_IN:
                shown[name] = HandlerSpec(**section)
    shown["crm"].settings["secrets"] = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    assert {spec.use for spec in shown.values()} == {*BUILT_IN} - {"remove_bounced"}
    assert len(load_handlers(shown)) == len(shown)


# ---------------------------------------------------------------- commands


def command_tree():
    import typer.main

    from consumer.cli import app

    return typer.main.get_command(app)


def leaves(command, path=()):
    below = getattr(command, "commands", None)
    if below is None:
        return [" ".join(path)]
    shown = {name: each for name, each in below.items() if not getattr(each, "hidden", False)}  # former names
    return [leaf for name, each in shown.items() for leaf in leaves(each, (*path, name))]


def test_the_page_of_commands_has_every_command_and_no_other():
    lines = re.findall(r"^\| `([a-z][^`]*)` \| ", COMMANDS.read_text(), re.MULTILINE)
    names = [" ".join(word for word in line.split() if not word.isupper()) for line in lines]
    names = [name.replace(" EVENT_ID", "") for name in names]
    assert sorted(names) == sorted(leaves(command_tree()))


@pages
def test_every_command_line_has_a_command_and_options_that_exist(page):
    root = command_tree()
    for line in re.findall(r"(?:`|\$ |-- |bin/)cadence-consumer ([^`\n>]+)", page.read_text()):
        command, words = root, line.split()
        while words and getattr(command, "commands", None) and not words[0].isupper():
            assert words[0] in command.commands or words[0].startswith("--"), line
            if words[0].startswith("--"):
                break
            command = command.commands[words.pop(0)]
        options = {option for each in command.params for option in each.opts} | {
            "--help",
            "--install-completion",
        }
        assert {word for word in words if word.startswith("--")} <= options, line


@pages
def test_every_make_target_exists(page):
    declared = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:`|^\$ )make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE)
    assert set(named) <= declared


# ---------------------------------------------------------------- names


@pages
def test_every_metric_exists(page):
    named = set(re.findall(r"\bcadence_[a-z_]+[a-z]", page.read_text()))
    others = {*LifecycleEvent.model_fields, "cadence_chat", "cadence_consumer"}
    assert named - others <= {str(name) for name in CATALOGUE}


@pages
def test_every_setting_exists(page):
    known = set(re.findall(r"^\| `([a-z_]+\.[a-z_<>.]+)` \|", SETTINGS.read_text(), re.MULTILINE))
    sections = {name.partition(".")[0] for name in known} - {"handlers"}
    named = re.findall(r"`((?:" + "|".join(sections) + r")\.[a-z_]+)`", page.read_text())
    files = {"log.py", "domain.py"}
    assert set(named) - known - files == set()


def test_every_log_event_of_the_runbook_is_logged_somewhere():
    _, _, runbook = OPERATION.read_text().partition("## When an alert fires")
    sources = "\n".join(path.read_text() for path in (ROOT / "consumer").rglob("*.py"))
    metrics = {str(name) for name in CATALOGUE}
    named = {
        name
        for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", runbook)
        if name not in metrics and name != "api_requests"
    }
    assert len(named) > 10
    assert {name for name in named if f'"{name}"' not in sources and f"{name}:" not in sources} == set()


def test_the_contracts_of_the_architecture_are_those_that_are_enforced():
    enforced = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    _, _, section = ARCHITECTURE.read_text().partition("## Contracts")
    shown = re.findall(r"^\| ([^|]+) \|", section.partition("\n## ")[0], re.MULTILINE)[1:]
    assert shown == [contract["name"] for contract in enforced]


def test_the_glossary_is_sorted_and_every_term_is_there_once():
    _, _, section = ARCHITECTURE.read_text().partition("## Glossary")
    terms = re.findall(r"^\| \*\*([^*]+)\*\* \|", section, re.MULTILINE)
    assert terms == sorted(set(terms))


# ---------------------------------------------------------------- pictures


def test_the_picture_is_readable_in_light_and_dark_and_says_in_words_what_it_shows():
    picture = (ROOT / "consumer" / "way-of-an-event.svg").read_text()
    assert "prefers-color-scheme: dark" in picture
    assert "<title" in picture
    assert "<desc" in picture
    for page in (README, ARCHITECTURE):
        assert "![The way of an event: " in page.read_text()


# ---------------------------------------------------------------- measured


def test_the_benchmarks_find_the_markers_that_they_write_between(tmp_path, monkeypatch):
    from tests.benchmarks import __main__ as benchmarks

    assert benchmarks.PAGE == SPEED
    copy = tmp_path / "README.md"
    copy.write_text(SPEED.read_text())
    monkeypatch.setattr(benchmarks, "PAGE", copy)
    benchmarks.write("measured\n")
    head, _, rest = SPEED.read_text().partition(benchmarks.BEGIN)
    _, _, tail = rest.partition(benchmarks.END)
    assert copy.read_text() == f"{head}{benchmarks.BEGIN}measured\n{benchmarks.END}{tail}"


def test_contributing_names_files_that_exist():
    named = re.findall(r"`((?:tests|consumer|handlers)/[\w./]*)`", CONTRIBUTING.read_text())
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []
