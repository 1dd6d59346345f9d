"""Observer events: reports of ingest, delivery and the service.

Each event is a frozen dataclass, named for what has just happened; telemetry turns it into log lines, metrics and health. One module for
each area, one union for each module, and one :class:`~consumer.ports.observers.observer.Observer` with one method. Events are made once for
a batch, an answer or a call, never once for a change.
"""
