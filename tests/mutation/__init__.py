"""Mutation testing by a tool: small wrong changes all over the parts that keep the promises, and whether a test notices.

``tests.mutants`` takes out the rules that somebody thought of. Here nobody thinks: mutmut turns every operator, number, argument and
assignment of the modules in ``scope`` into another, one at a time, and runs the tests that are to notice. What no test noticed stands in
``survivors.toml`` with the reason why nobody can, or need. A survivor that is not in that list is a hole in the tests, and a listed one
that is dead is a line to take out: ``python -m tests.mutation`` (``make mutation``) fails for both.

mutmut was chosen by trial. It forks a process for each mutant from one that has everything imported, and runs only the tests that ever
reach the mutated function, so a mutant costs a tenth of a second to a few; cosmic-ray, the other one that is looked after, starts Python
and pytest anew for each, three seconds here. What mutmut leaves alone is told in ``trial``.
"""
