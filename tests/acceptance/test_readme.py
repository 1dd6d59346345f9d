"""The README is true: its derived parts, its links, its examples."""

import re
import tomllib

from tests.support.builders.readme import (
    BUILT_IN,
    METRICS,
    PARTS,
    README,
    metrics_page,
    rendered,
)


def test_the_derived_parts_are_those_of_the_code():
    assert README.read_text() == rendered(), "run: python -m tests.support.builders.readme"
    assert [name for name in PARTS if f"<!-- {name}: " not in README.read_text()] == []


def test_the_page_of_metrics_is_that_of_the_catalogue():
    assert METRICS.read_text() == metrics_page(), "run: python -m tests.support.builders.readme"


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text())
    assert len(links) > 10
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_the_example_handler_loads(tmp_path, monkeypatch):
    from consumer.delivery.handler_settings import HandlerSpec
    from consumer.delivery.loading import load_handlers

    (source,) = re.findall(r"```python\n(# notify.py\n.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "notify.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    (loaded,) = load_handlers({"notify": HandlerSpec(use="notify:notify")})
    assert "run.ended.finished" in loaded.types
    assert "step.failed" in loaded.types


def test_the_settings_of_the_built_in_handlers_are_taken():
    from consumer.delivery.handler_settings import HandlerSpec
    from consumer.delivery.loading import load_handlers

    blocks = re.findall(r"```toml\n(\[handlers\..*?)```", README.read_text(), re.DOTALL)
    shown = {}
    for block in blocks:
        for name, section in tomllib.loads(block)["handlers"].items():
            if section["use"] in BUILT_IN:
                shown[name] = HandlerSpec(**section)
    shown["crm"].settings["secrets"] = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    assert {spec.use for spec in shown.values()} == {*BUILT_IN} - {"remove_bounced"}
    assert len(load_handlers(shown)) == len(shown)


def test_every_command_of_the_table_exists():
    import typer.main

    from consumer.cli import app

    root = typer.main.get_command(app)
    section = README.read_text().split("## Commands")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `([a-z][^`]*)` \| ", section, re.MULTILINE)
    assert len(lines) >= 10
    for line in lines:
        command = root
        for word in line.split():
            if word.islower():
                command = command.commands[word]
