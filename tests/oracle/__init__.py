"""A second opinion on what a ledger of change events means.

The service and this package implement the same specification independently, so a mistake has to be made twice to go unnoticed. It
imports nothing of the service, takes its time and is written to be read: `wire` reads messages, `meaning` holds the tables,
`expectation` says what the journal must hold, `comparison` says where a journal differs.
"""

from tests.oracle.comparison import Verdict, compare, differing_states
from tests.oracle.expectation import Expectation, ExpectedEvent, expected

__all__ = ["Expectation", "ExpectedEvent", "Verdict", "compare", "differing_states", "expected"]
