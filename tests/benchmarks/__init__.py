"""How fast, how small, beside what a user would take instead: ``make bench``.

One server process (``bus``) serves the same change events (``stream``) in turn to the peers (``bare_aiosfstream``, and two of ``tests/interop``) and to the
real command on a store of its own (``running``), which is looked at from outside (``meter``) and whose handler (``tally``) says when it has had
enough. Each measurement is a file: ``throughput`` (with ``floor``), ``latency``, ``stored``, ``restarts``, ``drain``; each measures, makes
its part of the table, and says what was wanted of it (``targets``). ``python -m tests.benchmarks`` runs all of them and writes the
page of this folder. Nothing here asserts a time: figures belong to a machine, ratios to one run.
"""
