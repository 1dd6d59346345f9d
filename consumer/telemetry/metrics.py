"""Registry with all metrics of the catalogue."""

from __future__ import annotations

import math
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from consumer.telemetry.metric_catalogue import CATALOGUE, MetricName

__all__ = ["Metrics", "seconds_since"]


class Metrics:
    """All metrics of the catalogue, on a registry of their own.

    Attributes:
        registry: content of ``/metrics``; includes process, platform and garbage collector.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        # A second series for each counter, with the time of its first use: twice the volume, and no query uses it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._counters: dict[MetricName, Counter] = {}
        self._gauges: dict[MetricName, Gauge] = {}
        self._histograms: dict[MetricName, Histogram] = {}
        for name, definition in CATALOGUE.items():
            if definition.kind == "counter":
                self._counters[name] = Counter(
                    name, definition.help, definition.labels, registry=self.registry
                )
            elif definition.kind == "gauge":
                self._gauges[name] = Gauge(name, definition.help, definition.labels, registry=self.registry)
            else:
                self._histograms[name] = Histogram(
                    name,
                    definition.help,
                    definition.labels,
                    registry=self.registry,
                    buckets=definition.buckets,
                )
        for name in (MetricName.SINCE_LAST_POLL_SECONDS, MetricName.SINCE_LAST_EVENT_SECONDS):
            self.gauge(name).set(math.nan)
        self.end_tenure()
        self.gauge(MetricName.BUILD_INFO, version("cadence-consumer")).set(1)

    def end_tenure(self) -> None:
        """Clear the metrics that only the lease holder knows."""
        for name, definition in CATALOGUE.items():
            if not definition.tenure:
                continue
            if definition.labels:
                self._gauges[name].clear()
            else:
                self._gauges[name].set(math.nan)

    def counter(self, name: MetricName, *labels: str) -> Counter:
        """Return the counter with these label values, in the catalogue's order.

        A caller that counts often keeps it.
        """
        metric = self._counters[name]
        return metric.labels(*labels) if labels else metric

    def gauge(self, name: MetricName, *labels: str) -> Gauge:
        """Return the gauge with these label values.

        Not to be kept if it ends with the tenure.
        """
        metric = self._gauges[name]
        return metric.labels(*labels) if labels else metric

    def histogram(self, name: MetricName, *labels: str) -> Histogram:
        """Return the histogram with these label values."""
        metric = self._histograms[name]
        return metric.labels(*labels) if labels else metric


def seconds_since(then_ms: int | None, now_ms: int) -> float:
    """Return the seconds between two instants; NaN while the first is unknown."""
    return math.nan if then_ms is None else (now_ms - then_ms) / 1000
