"""The catalogue of metrics: name, kind, help, labels, in one table. Names are a type, so that nobody counts under a name nobody knows.

Prometheus conventions: base units (seconds), counters end in ``_total``. Label values come from bounded sets (channel, handler, event type,
stable reason codes), never from data. A registry belongs to one :class:`Metrics`, so that several can live in one process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

__all__ = ["CATALOGUE", "Declared", "MetricName", "Metrics"]


class MetricName(StrEnum):
    """Every metric there is."""

    RECEIVED = "cadence_received_total"
    DUPLICATES = "cadence_duplicates_total"
    LATE = "cadence_late_total"
    IGNORED = "cadence_ignored_total"
    GAPS = "cadence_gaps_total"
    BAD_EVENTS = "cadence_bad_events_total"
    UNDOCUMENTED = "cadence_undocumented_total"
    COMMITS = "cadence_commits_total"
    COMMIT_FAILURES = "cadence_commit_failures_total"
    COMMIT_SECONDS = "cadence_commit_seconds"
    JOURNAL_EVENTS = "cadence_journal_events_total"
    JOURNAL_ENTRIES = "cadence_journal_entries"
    JOURNAL_BYTES = "cadence_journal_bytes"
    JOURNAL_OVER_BYTES = "cadence_journal_over_bytes"
    JOURNAL_TRIMMED = "cadence_journal_trimmed_total"
    STORE_BYTES = "cadence_store_bytes"
    STORE_GROWTH = "cadence_store_growth_bytes_per_day"
    STORE_FULL_SECONDS = "cadence_store_full_seconds"
    LAG_SECONDS = "cadence_lag_seconds"
    BUFFER_HELD = "cadence_buffer_held"
    SINCE_LAST_POLL_SECONDS = "cadence_since_last_poll_seconds"
    CHANNEL_ACKNOWLEDGED = "cadence_channel_acknowledged"
    SESSIONS_ENDED = "cadence_sessions_ended_total"
    AUTHENTICATION_FAILURES = "cadence_authentication_failures_total"
    HANDLER_DELIVERED = "cadence_handler_delivered_total"
    HANDLER_FAILED = "cadence_handler_failed_total"
    HANDLER_DEAD_LETTERED = "cadence_handler_dead_lettered_total"
    HANDLER_SKIPPED = "cadence_handler_skipped_total"
    HANDLER_FILTERED = "cadence_handler_filtered_total"
    HANDLER_LAG = "cadence_handler_lag_events"
    HANDLER_PARKED = "cadence_handler_parked_runs"
    HANDLER_STOPPED = "cadence_handler_stopped"
    HANDLER_OFFSET = "cadence_handler_offset"
    HANDLER_SECONDS = "cadence_handler_seconds"
    RETENTION_HEADROOM_SECONDS = "cadence_retention_headroom_seconds"
    POLLED_THROUGH_SECONDS = "cadence_polled_through_timestamp_seconds"
    LOOP_STALLS = "cadence_loop_stalls_total"
    RECONCILE_TASKS = "cadence_reconcile_tasks"
    RECONCILE_ROWS = "cadence_reconcile_rows_total"
    RECONCILE_CHANGED = "cadence_reconcile_changed_total"
    RECONCILE_FAILURES = "cadence_reconcile_failures_total"
    TENURE = "cadence_tenure"
    READY = "cadence_ready"
    BUILD_INFO = "cadence_build_info"


@dataclass(frozen=True, slots=True)
class Declared:
    """One row of the catalogue.

    Attributes:
        kind: of Prometheus.
        help: what it counts or measures, with its unit.
        labels: their names, in order.
        buckets: upper bounds of a histogram, in its unit.
    """

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LONG = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)

CATALOGUE: dict[MetricName, Declared] = {
    MetricName.RECEIVED: Declared("counter", "Change events received from Salesforce.", ("channel",)),
    MetricName.DUPLICATES: Declared("counter", "Changes that had been committed before and were dropped."),
    MetricName.LATE: Declared(
        "counter", "Changes that arrived after something newer of their run had been committed."
    ),
    MetricName.IGNORED: Declared(
        "counter", "Changes committed before their channel was first subscribed, which are not taken."
    ),
    MetricName.GAPS: Declared("counter", "Gap and overflow events, by change type.", ("kind",)),
    MetricName.BAD_EVENTS: Declared(
        "counter",
        "Messages that could not be understood and were kept as ingest dead letters.",
        ("channel", "reason"),
    ),
    MetricName.UNDOCUMENTED: Declared(
        "counter",
        "Fields and picklist values that this release does not know; they passed through. The log names each once.",
        ("entity", "what"),
    ),
    MetricName.COMMITS: Declared("counter", "Commits applied to the store."),
    MetricName.COMMIT_FAILURES: Declared("counter", "Commits that the store refused or could not take."),
    MetricName.COMMIT_SECONDS: Declared("histogram", "Duration of a commit in seconds.", (), _SHORT),
    MetricName.JOURNAL_EVENTS: Declared("counter", "Lifecycle events written to the journal.", ("type",)),
    MetricName.JOURNAL_ENTRIES: Declared("gauge", "Entries in the journal, holes included."),
    MetricName.JOURNAL_BYTES: Declared("gauge", "Bytes of the journal, an estimate."),
    MetricName.JOURNAL_OVER_BYTES: Declared(
        "gauge", "Bytes beyond journal.max_bytes that are kept because a handler needs them."
    ),
    MetricName.JOURNAL_TRIMMED: Declared("counter", "Journal entries that retention removed."),
    MetricName.STORE_BYTES: Declared("gauge", "Bytes of the SQLite file, or memory of the Redis server."),
    MetricName.STORE_GROWTH: Declared(
        "gauge", "Bytes a day that the store grows by, from the last day; NaN before it is known."
    ),
    MetricName.STORE_FULL_SECONDS: Declared(
        "gauge", "Seconds until the store reaches its limit at this pace; +Inf when never or unknown."
    ),
    MetricName.LAG_SECONDS: Declared(
        "gauge", "Seconds between Salesforce's commit of the newest journaled change and its commit here."
    ),
    MetricName.BUFFER_HELD: Declared("gauge", "Changes held back until nothing earlier is expected."),
    MetricName.SINCE_LAST_POLL_SECONDS: Declared(
        "gauge", "Seconds since Salesforce last answered a poll; NaN before the first answer."
    ),
    MetricName.CHANNEL_ACKNOWLEDGED: Declared(
        "gauge", "1 while the subscription of the channel is acknowledged, else 0.", ("channel",)
    ),
    MetricName.SESSIONS_ENDED: Declared("counter", "CometD sessions that ended, by reason.", ("reason",)),
    MetricName.AUTHENTICATION_FAILURES: Declared(
        "counter", "Access tokens that could not be had, by OAuth error.", ("code",)
    ),
    MetricName.HANDLER_DELIVERED: Declared("counter", "Events that a handler finished.", ("handler",)),
    MetricName.HANDLER_FAILED: Declared("counter", "Attempts of a handler that failed.", ("handler",)),
    MetricName.HANDLER_DEAD_LETTERED: Declared(
        "counter", "Events that a handler gave up on and were kept.", ("handler",)
    ),
    MetricName.HANDLER_SKIPPED: Declared(
        "counter", 'Events that a handler gave up on with on_failure = "skip".', ("handler",)
    ),
    MetricName.HANDLER_FILTERED: Declared(
        "counter",
        "Events of a wanted type that were left out for their origin, their age, or as own changes.",
        ("handler",),
    ),
    MetricName.HANDLER_LAG: Declared("gauge", "Journal entries past the handler's offset.", ("handler",)),
    MetricName.HANDLER_PARKED: Declared(
        "gauge", "Runs whose next event waits for another attempt of the handler.", ("handler",)
    ),
    MetricName.HANDLER_STOPPED: Declared(
        "gauge",
        "1 while the handler is paused, halted by its dead-letter limit or has asked to be stopped, else 0.",
        ("handler",),
    ),
    MetricName.HANDLER_OFFSET: Declared(
        "gauge",
        "Journal offset below which the handler has settled everything but parked runs.",
        ("handler",),
    ),
    MetricName.HANDLER_SECONDS: Declared(
        "histogram", "Duration of a handler call in seconds.", ("handler",), _LONG
    ),
    MetricName.RETENTION_HEADROOM_SECONDS: Declared(
        "gauge",
        "Seconds until Salesforce (72 h of retention) may have dropped changes that are not committed here, if nothing moves until then.",
        ("channel",),
    ),
    MetricName.POLLED_THROUGH_SECONDS: Declared(
        "gauge",
        "Salesforce time, in seconds since the epoch, up to which nothing of the channel can have been missed; moves every ten minutes.",
        ("channel",),
    ),
    MetricName.LOOP_STALLS: Declared(
        "counter", "How often the event loop stood still for so long that probes went unanswered."
    ),
    MetricName.RECONCILE_TASKS: Declared(
        "gauge",
        "Reconcile tasks under way: what the stream lost and REST has not been asked for yet.",
        ("reason",),
    ),
    MetricName.RECONCILE_ROWS: Declared(
        "counter", "Rows that reconcile tasks have read over REST.", ("reason",)
    ),
    MetricName.RECONCILE_CHANGED: Declared(
        "counter", "Rows that said something the stream had not said.", ("reason",)
    ),
    MetricName.RECONCILE_FAILURES: Declared("counter", "Pages of reconcile tasks that could not be had."),
    MetricName.TENURE: Declared("gauge", "1 while this process holds the lease, else 0."),
    MetricName.READY: Declared("gauge", "1 while the service is ready, else 0."),
    MetricName.BUILD_INFO: Declared("gauge", "Always 1; the version is in the label.", ("version",)),
}


class Metrics:
    """Every metric of the catalogue on a registry of its own.

    Attributes:
        registry: what ``/metrics`` shows; includes process, platform and garbage collector.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        # A second series per counter with the time of its first use: twice the volume, and no query uses it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._counters: dict[MetricName, Counter] = {}
        self._gauges: dict[MetricName, Gauge] = {}
        self._histograms: dict[MetricName, Histogram] = {}
        for name, declared in CATALOGUE.items():
            if declared.kind == "counter":
                self._counters[name] = Counter(name, declared.help, declared.labels, registry=self.registry)
            elif declared.kind == "gauge":
                self._gauges[name] = Gauge(name, declared.help, declared.labels, registry=self.registry)
            else:
                self._histograms[name] = Histogram(
                    name, declared.help, declared.labels, registry=self.registry, buckets=declared.buckets
                )
        self.gauge(MetricName.SINCE_LAST_POLL_SECONDS).set(float("nan"))
        self.gauge(MetricName.BUILD_INFO, version("cadence-consumer")).set(1)

    def counter(self, name: MetricName, *labels: str) -> Counter:
        """The counter with these label values, in the catalogue's order; keep it where it is used often."""
        metric = self._counters[name]
        return metric.labels(*labels) if labels else metric

    def gauge(self, name: MetricName, *labels: str) -> Gauge:
        """The gauge with these label values."""
        metric = self._gauges[name]
        return metric.labels(*labels) if labels else metric

    def histogram(self, name: MetricName, *labels: str) -> Histogram:
        """The histogram with these label values."""
        metric = self._histograms[name]
        return metric.labels(*labels) if labels else metric
