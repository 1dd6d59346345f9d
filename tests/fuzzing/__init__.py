"""Everything that reads bytes which somebody else wrote, under a coverage-guided fuzzer.

``targets`` says, for each reader, what may come of any bytes whatever: the errors that it promises and no others, and what holds of that
which it accepts. ``seeds`` are samples of what it usually reads, ``mutator`` makes others of them that are still JSON, ``found`` is what
once broke something. ``python -m tests.fuzzing --minutes 2`` (``make fuzz``) gives each target so many minutes under atheris, which is
libFuzzer for Python: it follows the branches that our own code takes and keeps every input that takes a new one. In the suite all that is
known by then is replayed, with each of the inputs blown up to a size that shows what takes more than its share of time or memory.
"""
