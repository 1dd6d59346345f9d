"""The alert rules: they speak of metrics that exist, each is tested in both directions, and each tells a person what to do."""

import re
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

from consumer.telemetry.metric_catalogue import CATALOGUE, MetricName
from tests.support.servers.debian import needed

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES_FILE = DEPLOY / "prometheus" / "alerts.yaml"
TESTS_FILE = DEPLOY / "prometheus" / "alerts_test.yaml"
RULES = [rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]
TARGET_LABELS = {"job", "namespace", "instance"}
"""Given by Prometheus to what it scrapes."""


def selectors(node):
    """Every selector of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from selectors(node.lhs)
        yield from selectors(node.rhs)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from selectors(argument)
    elif isinstance(node, promql_parser.AggregateExpr | promql_parser.ParenExpr):
        yield from selectors(node.expr)
    else:
        assert isinstance(node, promql_parser.NumberLiteral), type(node)


def promtool(*arguments):
    return subprocess.run(
        [needed("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=RULES_FILE.parent
    )  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_an_expression_names_only_metrics_and_labels_of_the_catalogue(rule):
    found = list(selectors(promql_parser.parse(rule["expr"])))
    assert found
    for selector in found:
        definition = CATALOGUE[MetricName(selector.name)]
        for matcher in selector.matchers.matchers:
            assert matcher.name in {*definition.labels, *TARGET_LABELS}, (selector.name, matcher.name)
    known = {label for selector in found for label in CATALOGUE[MetricName(selector.name)].labels}
    for labels in re.findall(r"\bby \(([^)]*)\)", rule["expr"]):
        assert {label.strip() for label in labels.split(",")} <= known | TARGET_LABELS


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_summary_names_only_labels_that_are_left(rule):
    left = {
        label.strip()
        for labels in re.findall(r"\bby \(([^)]*)\)", rule["expr"])
        for label in labels.split(",")
    }
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= left


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_alert_has_a_section_that_says_what_it_means_where_to_look_and_what_to_do(rule):
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "deploy/README.md"
    sections = re.split(r"^### ", (DEPLOY / "README.md").read_text(), flags=re.MULTILINE)[1:]
    (section,) = [text for text in sections if text.split()[0].lower() == anchor]
    assert "**Means**" in section
    assert "**Do**" in section
    assert rule["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_firing_and_not_firing(name):
    cases = [
        case
        for test in yaml.safe_load(TESTS_FILE.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    ]
    assert any(case.get("exp_alerts") for case in cases)
    assert any(not case.get("exp_alerts") for case in cases)


def test_the_commands_of_the_runbook_exist():
    import typer.main

    from consumer.cli import app

    root = typer.main.get_command(app)
    text = (DEPLOY / "README.md").read_text()
    lines = re.findall(r"(?:`|\$ |-- )cadence-consumer ([^`\n]+)", text)
    assert len(lines) >= 8
    for line in lines:
        command = root
        words = line.split()
        while words and getattr(command, "commands", None):
            command = command.commands[words.pop(0)]
        options = {option for each in command.params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_promtool_accepts_the_rules():
    done = promtool("check", "rules", RULES_FILE.name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_promtool_sees_every_alert_fire_and_stay_quiet_as_told():
    done = promtool("test", "rules", TESTS_FILE.name)
    assert done.returncode == 0, done.stdout + done.stderr
