"""How fast, how small, beside what a user would take instead: ``make bench``.

One server process (``bus``) serves the same change events (``stream``) in turn to the peers (``bare_aiosfstream``, and two of ``tests/interop``) and to the real command with
SQLite and with Redis (``service``); ``python -m tests.benchmarks`` runs everything interleaved, and writes medians and ratios into the
README. Nothing here asserts a time: figures belong to a machine, ratios to one run.
"""
