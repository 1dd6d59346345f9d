"""Random schedules of the protocol against the real ingest, on real stores.

A schedule is a small world of change events and a list of things that happen to replicas: answers, lost sessions, starved channels, lost and
won leases, orderly stops, crashes before and after a commit, lost replies, commits that are executed when nobody waits for them any more,
a store that goes back in time, full replays. The replicas are the real ingest loop with the real commits on a real store.

Beside it runs a model. It predicts what the store must answer to whom (``model``), what each commit makes true and must leave true
(``model``), and how long what arrives must be held back (``arrivals``); after a last quiet phase the store is compared with what an
undisturbed reader of the same bus would have (``verdict``, ``tests.oracle``).

``python -m tests.model`` plays many schedules; ``--seed N --store S -v`` replays one exactly and tells its story.
"""
