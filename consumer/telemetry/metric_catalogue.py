"""Catalogue of metrics: name, kind, help and labels in one table.

Prometheus conventions: base units (seconds), counters end in ``_total``. Label values come from bounded sets (:data:`LABELS`), never from
data. Each :class:`Metrics` has a registry of its own, so that one process can have several.

Metrics that only the lease holder knows are marked ``tenure``: a replica that has lost the lease shows no value, so that no alert fires on
a value an hour old. ``deploy/metrics.md`` is made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

__all__ = ["CATALOGUE", "LABELS", "MetricDefinition", "MetricName"]


class MetricName(StrEnum):
    """Names of all metrics."""

    CHANGE_EVENTS_RECEIVED = "cadence_change_events_received_total"
    DUPLICATES = "cadence_duplicates_total"
    LATE = "cadence_late_total"
    IGNORED = "cadence_ignored_total"
    GAPS = "cadence_gaps_total"
    BAD_EVENTS = "cadence_bad_events_total"
    UNKNOWN_VALUES = "cadence_undocumented_total"
    COMMITS = "cadence_commits_total"
    COMMIT_FAILURES = "cadence_commit_failures_total"
    COMMIT_DURATION_SECONDS = "cadence_commit_duration_seconds"
    JOURNAL_EVENTS = "cadence_journal_events_total"
    JOURNAL_ENTRIES = "cadence_journal_entries"
    JOURNAL_BYTES = "cadence_journal_bytes"
    JOURNAL_OVER_BYTES = "cadence_journal_over_bytes"
    JOURNAL_TRIMMED = "cadence_journal_trimmed_total"
    STATE_RECORDS = "cadence_state_records"
    STORE_BYTES = "cadence_store_bytes"
    STORE_LIMIT_BYTES = "cadence_store_limit_bytes"
    STORE_DISK_FREE_BYTES = "cadence_store_disk_free_bytes"
    STORE_GROWTH = "cadence_store_growth_bytes_per_day"
    STORE_FULL_SECONDS = "cadence_store_full_seconds"
    STATE_KINDS = "cadence_state_records_by_kind"
    STATE_BYTES = "cadence_state_bytes"
    STATE_EXPIRED = "cadence_state_expired_total"
    LAG_SECONDS = "cadence_lag_seconds"
    HELD_CHANGES = "cadence_held_changes"
    RELEASED_EARLY = "cadence_released_early_total"
    SINCE_LAST_POLL_SECONDS = "cadence_since_last_poll_seconds"
    SINCE_LAST_EVENT_SECONDS = "cadence_since_last_event_seconds"
    CHANNEL_ACKNOWLEDGED = "cadence_channel_acknowledged"
    SESSIONS_ENDED = "cadence_sessions_ended_total"
    AUTHENTICATION_FAILURES = "cadence_authentication_failures_total"
    HANDLER_DELIVERED = "cadence_handler_delivered_total"
    HANDLER_FAILED = "cadence_handler_failed_total"
    HANDLER_DEAD_LETTERED = "cadence_handler_dead_lettered_total"
    HANDLER_DEAD_LETTERS = "cadence_handler_dead_letters"
    HANDLER_SKIPPED = "cadence_handler_skipped_total"
    HANDLER_FILTERED = "cadence_handler_filtered_total"
    HANDLER_LAG = "cadence_handler_lag_events"
    HANDLER_BLOCKED_RUNS = "cadence_handler_blocked_runs"
    HANDLER_STOPPED = "cadence_handler_stopped"
    HANDLER_OFFSET = "cadence_handler_offset"
    HANDLER_SECONDS = "cadence_handler_duration_seconds"
    CHECKPOINT_AGE_SECONDS = "cadence_checkpoint_age_seconds"
    RETENTION_HEADROOM_SECONDS = "cadence_retention_headroom_seconds"
    POLLED_THROUGH_SECONDS = "cadence_polled_through_timestamp_seconds"
    LOOP_STALLS = "cadence_loop_stalls_total"
    RECONCILE_TASKS = "cadence_reconcile_tasks"
    RECONCILE_ROWS = "cadence_reconcile_rows_total"
    RECONCILE_CHANGED = "cadence_reconcile_changed_total"
    RECONCILE_FAILURES = "cadence_reconcile_failures_total"
    ORG_LIMIT = "cadence_org_limit"
    ORG_LIMIT_REMAINING = "cadence_org_limit_remaining"
    ACTIVE_RUNS = "cadence_active_runs"
    TENURE = "cadence_tenure"
    READY = "cadence_ready"
    BUILD_INFO = "cadence_build_info"


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """Row of the catalogue.

    Attributes:
        kind: kind of Prometheus metric.
        help: what it counts or measures, with its unit.
        labels: names of the labels, in order.
        buckets: upper bounds of a histogram, in its unit.
        tenure: whether only the lease holder knows the value; other replicas show NaN, or no series where there are labels.
    """

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    tenure: bool = False


LABELS: dict[str, str] = {
    "limit": "`deliveries` (`DailyDeliveredPlatformEvents`) or `api_requests` (`DailyApiRequests`)",
    "channel": "the configured channels; `other` for messages of another channel, or of several",
    "code": "OAuth's error codes, `http_<status>`, and a few codes of this service; any other code is `other`",
    "entity": "`ActionCadenceTracker`, `ActionCadenceStepTracker`",
    "handler": "the configured handlers",
    "kind": "the change types of gap and overflow events",
    "reason": "stable codes in the source, never text from a server",
    "type": "the lifecycle event types",
    "version": "of this release",
    "what": "`field` or `value`",
}
"""Every label, with the bounded set of its values."""

_SHORT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LONG_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)

CATALOGUE: dict[MetricName, MetricDefinition] = {
    MetricName.CHANGE_EVENTS_RECEIVED: MetricDefinition(
        "counter", "Change events received from Salesforce.", ("channel",)
    ),
    MetricName.DUPLICATES: MetricDefinition(
        "counter", "Changes that had been committed before and were dropped."
    ),
    MetricName.LATE: MetricDefinition(
        "counter", "Changes that arrived after something newer of their run had been committed."
    ),
    MetricName.IGNORED: MetricDefinition(
        "counter", "Changes from before their channel was first subscribed, which are ignored."
    ),
    MetricName.GAPS: MetricDefinition("counter", "Gap and overflow events, by change type.", ("kind",)),
    MetricName.BAD_EVENTS: MetricDefinition(
        "counter",
        "Messages that could not be understood and were stored as ingest dead letters.",
        ("channel", "reason"),
    ),
    MetricName.UNKNOWN_VALUES: MetricDefinition(
        "counter",
        "Fields and picklist values that this release does not know, which pass through. The log names each once.",
        ("entity", "what"),
    ),
    MetricName.COMMITS: MetricDefinition("counter", "Commits applied to the store."),
    MetricName.COMMIT_FAILURES: MetricDefinition(
        "counter", "Attempts to commit that the store refused or did not answer."
    ),
    MetricName.COMMIT_DURATION_SECONDS: MetricDefinition(
        "histogram", "Duration of a commit in seconds.", (), _SHORT_BUCKETS
    ),
    MetricName.JOURNAL_EVENTS: MetricDefinition(
        "counter", "Lifecycle events written to the journal.", ("type",)
    ),
    MetricName.JOURNAL_ENTRIES: MetricDefinition(
        "gauge", "Entries in the journal, holes included.", tenure=True
    ),
    MetricName.JOURNAL_BYTES: MetricDefinition("gauge", "Bytes of the journal, an estimate.", tenure=True),
    MetricName.JOURNAL_OVER_BYTES: MetricDefinition(
        "gauge", "Bytes beyond journal.max_bytes that are kept because a handler needs them.", tenure=True
    ),
    MetricName.JOURNAL_TRIMMED: MetricDefinition("counter", "Journal entries that retention removed."),
    MetricName.STATE_RECORDS: MetricDefinition(
        "gauge", "Records whose state is kept: runs and steps.", tenure=True
    ),
    MetricName.STORE_BYTES: MetricDefinition(
        "gauge",
        "Bytes in use: of the SQLite file, or used_memory of the Redis server, whatever else it holds.",
        tenure=True,
    ),
    MetricName.STORE_LIMIT_BYTES: MetricDefinition(
        "gauge",
        "Bytes at which the store is full: maxmemory of the Redis server, or the SQLite file and the free space of its disk; "
        "+Inf without a limit.",
        tenure=True,
    ),
    MetricName.STORE_DISK_FREE_BYTES: MetricDefinition(
        "gauge", "Bytes free on the disk of the SQLite file; NaN with Redis.", tenure=True
    ),
    MetricName.STORE_GROWTH: MetricDefinition(
        "gauge",
        "Growth of the store in bytes a day, over the last day; NaN before it is known.",
        tenure=True,
    ),
    MetricName.STORE_FULL_SECONDS: MetricDefinition(
        "gauge",
        "Seconds until the store reaches its limit at the present growth; +Inf if never or unknown.",
        tenure=True,
    ),
    MetricName.STATE_KINDS: MetricDefinition(
        "gauge",
        "Stored record states (runs, steps, targets, gaps), counted every hour.",
        ("kind",),
    ),
    MetricName.STATE_BYTES: MetricDefinition(
        "gauge",
        "Bytes of these states, without the store's own overhead, counted every hour.",
        ("kind",),
    ),
    MetricName.STATE_EXPIRED: MetricDefinition(
        "counter",
        "Record states removed: of runs that ended before state.retention, or deleted four days ago.",
    ),
    MetricName.LAG_SECONDS: MetricDefinition(
        "gauge",
        "Lag of the journal behind Salesforce: seconds from the commit there to the commit here of the newest journaled change; "
        "grows while changes wait, and is 0 a minute after the last one.",
        tenure=True,
    ),
    MetricName.HELD_CHANGES: MetricDefinition(
        "gauge", "Changes held back until nothing earlier is expected.", tenure=True
    ),
    MetricName.RELEASED_EARLY: MetricDefinition(
        "counter",
        "Changes released before every channel had caught up, because too many were held or one for too long.",
    ),
    MetricName.SINCE_LAST_POLL_SECONDS: MetricDefinition(
        "gauge", "Seconds since Salesforce last answered a poll; NaN before the first answer."
    ),
    MetricName.SINCE_LAST_EVENT_SECONDS: MetricDefinition(
        "gauge",
        "Seconds since Salesforce last sent a change event; NaN before the first. It grows in a quiet org, which is normal.",
    ),
    MetricName.CHANNEL_ACKNOWLEDGED: MetricDefinition(
        "gauge", "1 while the subscription of the channel is acknowledged, else 0.", ("channel",)
    ),
    MetricName.SESSIONS_ENDED: MetricDefinition(
        "counter", "CometD sessions that ended, by reason.", ("reason",)
    ),
    MetricName.AUTHENTICATION_FAILURES: MetricDefinition(
        "counter", "Failed requests for an access token, by OAuth error.", ("code",)
    ),
    MetricName.HANDLER_DELIVERED: MetricDefinition(
        "counter", "Events that a handler acknowledged.", ("handler",)
    ),
    MetricName.HANDLER_FAILED: MetricDefinition(
        "counter",
        "Failed attempts of a handler; with the delivered events, all its attempts.",
        ("handler",),
    ),
    MetricName.HANDLER_DEAD_LETTERED: MetricDefinition(
        "counter", "Events that a handler gave up and that were stored as dead letters.", ("handler",)
    ),
    MetricName.HANDLER_DEAD_LETTERS: MetricDefinition(
        "gauge",
        "Dead letters of a handler that wait for an operator to redrive or discard them.",
        ("handler",),
        tenure=True,
    ),
    MetricName.HANDLER_SKIPPED: MetricDefinition(
        "counter", 'Events that a handler gave up with on_failure = "skip".', ("handler",)
    ),
    MetricName.HANDLER_FILTERED: MetricDefinition(
        "counter",
        "Events of a selected type that were left out for their origin, their age, as own changes or by the predicate.",
        ("handler",),
    ),
    MetricName.HANDLER_LAG: MetricDefinition(
        "gauge", "Journal entries after the handler's offset.", ("handler",), tenure=True
    ),
    MetricName.HANDLER_BLOCKED_RUNS: MetricDefinition(
        "gauge",
        "Blocked runs: their next event waits for another attempt of the handler.",
        ("handler",),
        tenure=True,
    ),
    MetricName.HANDLER_STOPPED: MetricDefinition(
        "gauge",
        "1 while the handler is paused, halted by its dead-letter limit or disabled at its own request, else 0.",
        ("handler",),
        tenure=True,
    ),
    MetricName.HANDLER_OFFSET: MetricDefinition(
        "gauge",
        "Journal offset up to which the handler has acknowledged everything except blocked runs.",
        ("handler",),
        tenure=True,
    ),
    MetricName.HANDLER_SECONDS: MetricDefinition(
        "histogram", "Duration of a handler call in seconds.", ("handler",), _LONG_BUCKETS
    ),
    MetricName.CHECKPOINT_AGE_SECONDS: MetricDefinition(
        "gauge",
        "Seconds since the stored position last moved; NaN before the first. It grows in a quiet org: watch the headroom instead.",
        ("channel",),
    ),
    MetricName.RETENTION_HEADROOM_SECONDS: MetricDefinition(
        "gauge",
        "Seconds until Salesforce (72 h of retention) may have removed changes that are not committed here, if nothing moves until then.",
        ("channel",),
    ),
    MetricName.POLLED_THROUGH_SECONDS: MetricDefinition(
        "gauge",
        "Salesforce time, in seconds since the epoch, up to which all changes of the channel have been received; moves every ten minutes.",
        ("channel",),
    ),
    MetricName.LOOP_STALLS: MetricDefinition(
        "counter", "Stalls of the event loop that were long enough for probes to go unanswered."
    ),
    MetricName.RECONCILE_TASKS: MetricDefinition(
        "gauge",
        "Reconcile tasks that are not complete: records or windows that the stream lost and REST has to supply.",
        ("reason",),
        tenure=True,
    ),
    MetricName.RECONCILE_ROWS: MetricDefinition(
        "counter", "Rows that reconcile tasks have read over REST.", ("reason",)
    ),
    MetricName.RECONCILE_CHANGED: MetricDefinition(
        "counter", "Rows that differed from what the stream had carried.", ("reason",)
    ),
    MetricName.RECONCILE_FAILURES: MetricDefinition(
        "counter", "Failed requests for a page of a reconcile task."
    ),
    MetricName.ORG_LIMIT: MetricDefinition(
        "gauge",
        "Limit of the whole org within rolling 24 hours, from REST's limits resource; read every five minutes.",
        ("limit",),
        tenure=True,
    ),
    MetricName.ORG_LIMIT_REMAINING: MetricDefinition(
        "gauge",
        "Remainder of that limit. At 0 deliveries Salesforce sends nothing more; changes are kept for 72 hours.",
        ("limit",),
        tenure=True,
    ),
    MetricName.ACTIVE_RUNS: MetricDefinition(
        "gauge",
        "Active runs of the org, of at most 150,000; counted over REST every half hour.",
        tenure=True,
    ),
    MetricName.TENURE: MetricDefinition(
        "gauge", "1 while this process holds the lease, else 0; also 0 if it was not renewed in time."
    ),
    MetricName.READY: MetricDefinition("gauge", "1 while the service is ready, else 0."),
    MetricName.BUILD_INFO: MetricDefinition("gauge", "Always 1; the version is in the label.", ("version",)),
}
