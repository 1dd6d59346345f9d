"""The catalogue is what is exported, no more and no less."""

import re

from prometheus_client import generate_latest

import consumer
from consumer.telemetry.metric_catalogue import CATALOGUE, LABELS, MetricName
from consumer.telemetry.metrics import Metrics


def text_of(metrics):
    return generate_latest(metrics.registry).decode()


def test_every_name_is_declared_and_exported_with_its_help():
    assert set(CATALOGUE) == set(MetricName)
    text = text_of(Metrics())
    for name, definition in CATALOGUE.items():
        # The exposition format names a counter's family without _total.
        assert (
            f"# HELP {name} {definition.help}" in text
            or f"# HELP {name.removesuffix('_total')} {definition.help}" in text
        )


def test_names_follow_the_conventions_of_prometheus():
    for name, definition in CATALOGUE.items():
        assert re.fullmatch(r"cadence_[a-z_]+", name)
        assert name.endswith("_total") is (definition.kind == "counter"), name
        assert definition.help.endswith("."), name
        assert bool(definition.buckets) is (definition.kind == "histogram"), name


def test_every_label_says_which_bounded_set_its_values_come_from():
    used = {label for definition in CATALOGUE.values() for label in definition.labels}
    assert used == set(LABELS)


def test_only_gauges_end_with_the_tenure_and_all_of_them_show_nothing_before_it():
    text = text_of(Metrics())
    for name, definition in CATALOGUE.items():
        if definition.tenure:
            assert definition.kind == "gauge", name
            shown = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
            assert shown == ([] if definition.labels else [f"{name} NaN"])


def test_what_is_counted_is_shown_under_its_labels():
    metrics = Metrics()
    metrics.counter(MetricName.CHANGE_EVENTS_RECEIVED, "/data/ChangeEvents").inc(3)
    metrics.histogram(MetricName.HANDLER_SECONDS, "notify").observe(0.2)
    text = text_of(metrics)
    assert 'cadence_change_events_received_total{channel="/data/ChangeEvents"} 3.0' in text
    assert 'cadence_handler_duration_seconds_bucket{handler="notify",le="0.5"} 1.0' in text


def test_two_services_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.counter(MetricName.COMMITS).inc()
    assert "cadence_commits_total 1.0" in text_of(one)
    assert "cadence_commits_total 0.0" in text_of(other)


def test_no_counter_drags_a_second_series_along():
    assert "_created" not in text_of(Metrics())


def test_build_and_process_are_described():
    text = text_of(Metrics())
    assert f'cadence_build_info{{version="{consumer.__version__}"}} 1.0' in text
    assert "process_resident_memory_bytes" in text
