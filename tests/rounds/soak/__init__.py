"""The service under an endless stream: ``python -m tests.rounds.soak --minutes 60 --rate 500`` (``make soak``).

The command runs as a process on a real Redis, or on SQLite. A bus of its own feeds it (``bus``): one recorded world, from its first enrolment to the
end of its last run, over and over with other ids (``world``), so that neither side has to remember what was. Its clock runs fast: what is kept for
days, and forgotten then, is forgotten many times within the hour (``command``). Sessions break again and again.

A handler keeps a rolling checksum of every run (``handler``, ``checksum``): a chain over what each event was, so that a lost, a doubled and a
swapped event each make it another. The chains of a repetition are folded into one as soon as it is over. What they must be is told by the oracle,
which computes it from what the bus published and knows nothing of the service. Beside it all the memory of the process is measured, and its slope
at the end.
"""
