"""The list of survivors is whole, and what turns the tool's words into it does so; the tool itself does not run here."""

import ast
from pathlib import Path

import pytest

from tests.mutation import survivors
from tests.mutation.scope import SCOPES
from tests.mutation.survivors import known, noted, rule_for
from tests.mutation.trial import ROOT, Mutant, difference, without_property_decorators

MODULE = "consumer/ingest/sequencer.py"


def mutant(was: str, now: str, nth: int = 1) -> Mutant:
    return Mutant(MODULE, "Sequencer.push", (was,), (now,), nth)


def test_every_listed_survivor_has_a_reason_and_is_of_a_module_in_scope():
    reasons = known()
    assert reasons
    assert {one.module for one in reasons} <= {scope.module for scope in SCOPES}
    assert [one for one in reasons if rule_for(one) is not None] == [], "a rule covers these"


def test_everything_in_scope_is_there():
    for scope in SCOPES:
        assert all((ROOT / path).is_file() for path in (scope.module, *scope.tests)), scope
        tree = ast.parse((ROOT / scope.module).read_text())
        there = {
            f"{owner.name}.{one.name}"
            for owner in ast.walk(tree)
            if isinstance(owner, ast.ClassDef)
            for one in owner.body
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for name in scope.only:
            assert any(one == name or one.startswith(name.rstrip("*")) for one in there), name


@pytest.fixture
def listed(tmp_path, monkeypatch):
    path = tmp_path / "survivors.toml"
    monkeypatch.setattr(survivors, "LISTED", path)
    return path


def test_the_list_is_read_as_it_was_written_and_new_ones_wait_for_a_reason(listed: Path):
    old = {mutant("a = 'x\\n'", 'a = "\\u00e9"'): "nobody asks", mutant("a = 1", "a = 2", 2): "a is not read"}
    noted(old, ())
    assert known() == old
    new = mutant("b = 1", "b = 2")
    noted(old, {new})
    assert known(reasons_needed=False) == {**old, new: ""}
    with pytest.raises(ValueError, match="has no reason"):
        known()
    noted(old, ())
    listed.write_text(listed.read_text() + listed.read_text().partition("\n\n")[2])
    with pytest.raises(ValueError, match="stands there twice"):
        known()


@pytest.mark.parametrize(
    ("was", "now", "covered"),
    [
        ("self.x = False", "self.x = None", True),
        ("self.x = False", "self.x = True", False),
        ("self.x = None", "self.x = ''", False),
        ("raise ValueError('no such thing')", "raise ValueError('XXno such thingXX')", True),
        ("raise ValueError('no such thing')", "raise ValueError('NO SUCH THING')", True),
        ("raise ValueError('no such thing')", "raise ValueError(None)", False),
        ("raise CommitRefused(0, holder)", "raise CommitRefused(1, holder)", False),
        ("run('DELETE FROM t WHERE a = ?')", "run('delete from t where a = ?')", True),
        ("""run("SELECT a FROM t WHERE n = 'org'")""", """run("select a from t where n = 'org'")""", True),
        ("""run("SELECT a FROM t WHERE n = 'org'")""", """run("SELECT A FROM T WHERE N = 'ORG'")""", False),
        ("run('DELETE FROM t')", "run('XXDELETE FROM tXX')", False),
        ("kind = 'CREATE'", "kind = 'create'", False),
    ],
)
def test_a_rule_covers_what_nobody_can_notice_and_nothing_else(was, now, covered):
    assert (rule_for(mutant(was, now)) is not None) is covered


def test_properties_are_written_as_the_assignments_that_they_stand_for_on_the_same_lines():
    source = "class A:\n    @property\n    def one(self):\n        return 1\n\n    @staticmethod\n    def two():\n        return 2\n"
    written = without_property_decorators(source)
    assert "@property" not in written
    namespace: dict = {}
    exec(written, namespace)
    assert (namespace["A"]().one, namespace["A"].two()) == (1, 2)


def test_what_a_mutant_changes_does_not_depend_on_names_layout_or_place():
    def function(source: str) -> ast.FunctionDef:
        return ast.parse(source).body[0]

    one = function("def x_a__mutmut_orig(b):\n    # why\n    if b:\n        return (b +\n            1)\n")
    other = function("@classmethod\ndef x_a__mutmut_7(b):\n    if b:\n        return b - 1\n")
    assert difference(one, other) == (("return b + 1",), ("return b - 1",))
