"""What the service says about itself: log lines, metrics and health, each declared in one place.

``logging`` configures structlog once, ``metrics`` is the catalogue of numbers, ``health`` turns facts into "ready, or why not", and
``events`` joins them: one named event of ingest or delivery both logs and counts.
"""
