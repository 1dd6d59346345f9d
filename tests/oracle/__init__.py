"""What the journal must hold, computed from the sandbox's ledger without a line of the service.

A second implementation of the same specification: it sorts the whole ledger and interprets it once, in order, with nothing to hold back,
repeat or resume. Whatever the service made of the disturbed stream has to equal it.
"""

from tests.oracle.comparison import Verdict, compare
from tests.oracle.expectation import Expectation, ExpectedEvent, expected

__all__ = ["Expectation", "ExpectedEvent", "Verdict", "compare", "expected"]
