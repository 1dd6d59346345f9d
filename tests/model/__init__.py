"""Random schedules of the protocol against the real ingest, on real stores.

A schedule is a small world of change events and a list of things that happen to a replica: answers, lost sessions, lost and won leases,
crashes before and after a commit, lost replies, a store that goes back in time, full replays. The model is what an undisturbed reader of
the same bus would have (``tests.oracle``), and what the acknowledged commits say is settled. ``python -m tests.model`` runs many;
``--seed N`` replays one exactly.
"""
