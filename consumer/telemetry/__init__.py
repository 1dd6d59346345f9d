"""Log lines, metrics and health, each declared in one place.

``logging`` configures structlog, ``metrics`` is the catalogue of metrics, ``health`` turns facts into "ready, or why not". The observers
(``…_telemetry``) take the events of :mod:`consumer.ports.observers`: one event both logs and counts, and no other part of the service
writes metrics.
"""
