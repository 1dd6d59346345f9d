"""What ``make mutants`` and ``make promises`` take out is there to be taken out, and they leave out no test that the table of promises names."""

import pytest

from tests.mutants import MUTANTS, ROOT
from tests.promises import PAGE, PROOFS, RULES, promised


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_stands_where_it_is_taken_out(rule):
    mutant = RULES[rule]
    assert mutant.old in (ROOT / mutant.file).read_text(), (
        f"{mutant.file} has changed: say anew what the rule is there"
    )
    for test in mutant.tests.split():
        assert (ROOT / test.partition("::")[0]).exists()


def test_rules_have_names_of_their_own():
    assert len({mutant.rule for mutant in MUTANTS}) == len(MUTANTS)


def test_each_test_that_the_table_names_for_a_promise_is_shown_to_fail_without_it():
    table = promised(PAGE.read_text())
    assert sorted(table) == [1, 2, 3, 4, 5, 6]
    named = sorted((number, test) for number, tests in table.items() for test in tests)
    assert sorted({(proof.promise, proof.test) for proof in PROOFS}) == named
