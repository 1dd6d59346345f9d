"""Whole services in a world that a seed decides: deterministic simulation of source, ingest, store, delivery and handlers together.

Two or three replicas of the real :class:`consumer.service.Service` run in one loop that has no clock and no threads (``loop``), on the real
SQLite store whose threads are steps of that loop (``store``), on a bus that delays, duplicates, reorders, refuses and breaks (``bus``), with
handlers that fail, hang and are slow (``handlers``). Processes are killed between any two steps and frozen, leases are stolen, clocks jump
(``play``). After every step that changes the store, and at every call of a handler, the guarantees are asked for (``witness``); after a calm
they must all have come true.

Beside it, ``tests.model`` plays the protocol of one ingest loop against a model that predicts every answer, on Redis too: a real Redis cannot
be put under virtual time, and a fake one would prove nothing. The simulation has what it lacks: whole processes side by side, delivery, and
no order of steps that is given.

``python -m tests.simulation --seeds N`` plays many seeds; ``--seed N -v`` replays one exactly and prints its schedule.
"""
