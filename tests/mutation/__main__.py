"""Mutates what is in scope and compares the survivors with those that are known: ``python -m tests.mutation`` (``make mutation``).

    python -m tests.mutation --only place retry
    python -m tests.mutation --only place --note

Ends with 1 when a mutant survives that ``survivors.toml`` does not name, and when one that it names is dead or there is none such.
"""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.mutation.scope import SCOPES, Scope
from tests.mutation.survivors import known, noted, rule_for
from tests.mutation.trial import Mutant, Verdict, try_out


@dataclass(frozen=True)
class Outcome:
    """Of one scope.

    Attributes:
        scope: which.
        mutants: every one, and what became of it.
        seconds: how long it took.
    """

    scope: Scope
    mutants: dict[Mutant, Verdict]
    seconds: float

    @property
    def alive(self) -> set[Mutant]:
        """Those that no test noticed, but for those that a rule covers."""
        return {one for one, verdict in self.mutants.items() if verdict == "alive" and rule_for(one) is None}

    @property
    def late(self) -> set[Mutant]:
        """Those whose tests took too long."""
        return {one for one, verdict in self.mutants.items() if verdict == "late"}

    @property
    def killed(self) -> int:
        """How many a test noticed, if only by not ending."""
        return sum(verdict != "alive" for verdict in self.mutants.values())

    @property
    def ruled(self) -> Counter[str]:
        """How many a rule covers, by its reason."""
        rules = (rule_for(one) for one, verdict in self.mutants.items() if verdict == "alive")
        return Counter(rule for rule in rules if rule is not None)

    def __str__(self) -> str:
        return (
            f"{self.scope.name:<13} {len(self.mutants):>5} mutants {self.killed:>5} killed {len(self.alive):>4} alive"
            f" {self.ruled.total():>4} covered by a rule {self.seconds:>5.0f} s"
        )


def outcome_of(scope: Scope, jobs: int) -> Outcome:
    """Of one scope."""
    began = time.monotonic()
    return Outcome(scope, try_out(scope, jobs), time.monotonic() - began)


def told(words: str, mutants: set[Mutant]) -> None:
    """Print them, if there are any."""
    if mutants:
        print(f"\n{words}:")
        for mutant in sorted(mutants):
            print(mutant)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", choices=[one.name for one in SCOPES], nargs="+", help="these modules; default all"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="how many modules at a time, and mutants of each; default 2"
    )
    parser.add_argument("--note", action="store_true", help="add what is new to the list, without a reason")
    wanted = parser.parse_args()
    reasons = known(reasons_needed=not wanted.note)
    scopes = [one for one in SCOPES if not wanted.only or one.name in wanted.only]
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(wanted.jobs) as pool:
        for outcome in pool.map(lambda scope: outcome_of(scope, wanted.jobs), scopes):
            print(outcome, flush=True)
            outcomes.append(outcome)
    alive = set().union(*(one.alive for one in outcomes))
    # What is listed and was late may be alive on a machine with more time; nobody knows.
    late = set().union(*(one.late for one in outcomes))
    listed = {one for one in reasons if one.module in {scope.module for scope in scopes}} - late
    told("No test notices these; write one, or list them in survivors.toml with a reason", alive - listed)
    told("These are listed and not alive any more; take them out of survivors.toml", listed - alive)
    for rule, times in sum((one.ruled for one in outcomes), Counter()).items():
        print(f"\ncovered by a rule: {times} times, {rule}")
    mutants = sum(len(one.mutants) for one in outcomes)
    killed = sum(one.killed for one in outcomes)
    if late:
        print(f"\n{len(late)} are killed by not ending in time")
    print(
        f"\n{killed} of {mutants} mutants killed; {len(alive & listed)} of {len(alive)} survivors have a reason"
    )
    if wanted.note:
        noted({one: why for one, why in reasons.items() if one not in listed - alive}, alive - listed)
    return 1 if alive ^ listed else 0


if __name__ == "__main__":
    sys.exit(main())
