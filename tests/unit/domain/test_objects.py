"""The models know what the Object Reference says, no less and no more; what it does not say passes through."""

import ast
import inspect
from typing import get_args

import pytest

from consumer.domain import objects
from consumer.domain.lifecycle_events import ErrorDetail
from consumer.domain.objects import (
    DOCUMENTED_FIELDS,
    ENTITIES,
    RUN,
    STEP,
)
from consumer.domain.state_machines import run_ending, step_ending
from consumer.domain.step_error_codes import ERROR_KINDS, ErrorKind, error_kind
from consumer.event_types import RUN_ENDED_OTHER
from consumer.ports.observers.ingest_events import UnknownValuesReceived
from consumer.sandbox.schema import ENTITIES as SIMULATED
from tests.data import object_reference as reference
from tests.support.builders.changes import (
    RUN_1,
    STEP_1,
    change,
    message,
)
from tests.support.rigs.ingest import tenure

TABLES = [
    (RUN, reference.TRACKER_FIELDS, reference.TRACKER_SINCE, 15),
    (STEP, reference.STEP_TRACKER_FIELDS, reference.STEP_TRACKER_SINCE, 19),
]


@pytest.mark.parametrize(("entity", "fields", "since", "count"), TABLES, ids=[RUN, STEP])
def test_every_field_is_there_with_type_version_nullability_and_whether_it_is_calculated(
    entity, fields, since, count
):
    assert len(fields) == count
    wanted = {name: (kind, version or since, *rest) for name, (kind, version, *rest) in fields.items()}
    told = {
        name: (fact.kind, fact.since, fact.nullable, fact.calculated)
        for name, fact in DOCUMENTED_FIELDS[entity].items()
    }
    assert told == wanted
    assert ENTITIES[entity].calculated == {name for name, fact in fields.items() if fact[3]}


def test_the_older_page_of_the_tracker_knows_nothing_that_the_newer_one_does_not():
    older = set(reference.TRACKER_FIELDS_OF_THE_OLD_PAGE)
    assert len(older) == 9
    assert older < set(DOCUMENTED_FIELDS[RUN])


@pytest.mark.parametrize(("entity", "fields", "since", "count"), TABLES, ids=[RUN, STEP])
def test_types_in_python_are_those_of_the_fields(entity, fields, since, count):
    python = {
        "reference": "str", "picklist": "str", "string": "str", "int": "int", "boolean": "bool", "dateTime": "datetime",
    }  # fmt: skip
    told = {
        str(field.alias): get_args(field.annotation)[0].__name__
        for field in ENTITIES[entity].model_fields.values()
        if str(field.alias) in fields
    }
    assert told == {name: python[fact[0]] for name, fact in fields.items()}


def test_every_picklist_has_its_values_and_every_field_with_values_is_a_picklist():
    told = {
        (entity, name): sorted(fact.values)
        for entity, fields in DOCUMENTED_FIELDS.items()
        for name, fact in fields.items()
        if fact.kind == "picklist"
    }
    assert told == {key: sorted(values) for key, values in reference.PICKLISTS.items()}
    assert [len(values) for values in reference.PICKLISTS.values()] == [6, 8, 9, 4, 8, 4, 13, 41]
    assert all(
        fact.kind == "picklist" for of in DOCUMENTED_FIELDS.values() for fact in of.values() if fact.values
    )
    open_ended = [
        name for of in DOCUMENTED_FIELDS.values() for name, fact in of.items() if not fact.restricted
    ]
    assert open_ended == ["CompletionDisposition"]


def test_each_error_code_has_its_kind_and_a_code_of_a_newer_release_has_none():
    assert reference.ERROR_CODES == ERROR_KINDS
    assert {code: error_kind(code) for code in reference.ERROR_CODES} == reference.ERROR_CODES
    assert error_kind("SOLAR_FLARE") == error_kind(None) == "unknown"
    assert set(ERROR_KINDS.values()) == set(get_args(ErrorKind))
    assert ErrorDetail(kind=error_kind("RETRY_LATER")).kind == "transient"


def test_every_reason_leads_to_an_ending_of_its_own_meaning():
    assert [one for one in reference.TRACKER_REASONS if run_ending(one) == RUN_ENDED_OTHER] == []
    assert {step_ending(one) for one in reference.STEP_REASONS} == {
        "step.ended.completed",
        "step.ended.exited",
        "step.ended.skipped",
    }


def test_every_field_says_what_it_means():
    for node in ast.parse(inspect.getsource(objects)).body:
        if isinstance(node, ast.ClassDef) and node.name in ENTITIES:
            silent = [
                field.target.id
                for field, after in zip(node.body, [*node.body[1:], ast.Pass()], strict=True)
                if isinstance(field, ast.AnnAssign)
                and not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
            ]
            assert silent == []


def test_the_simulated_org_has_the_same_fields_and_sends_the_same():
    """It shares no code with the service, so that one mistake has to be made twice."""
    for entity, fields in DOCUMENTED_FIELDS.items():
        simulated = {
            name: field.in_events for name, field in SIMULATED[entity].fields.items() if name in fields
        }
        assert simulated == {name: not fact.calculated for name, fact in fields.items()}


# ---------------------------------------------------------------- what is not documented


def test_what_is_not_documented_passes_through_and_is_noted():
    fields = {"State": "Hibernating", "Mood": "fine", "Custom__c": 1.5, "ErrorMessage": None}
    one = change("UPDATE", RUN, RUN_1, fields, commit=1)
    assert one.body == fields
    assert one.header.unknown_values == (("State", "Hibernating"), ("Mood", None), ("Custom__c", None))


def test_values_of_an_orgs_own_are_no_news_where_the_picklist_is_open():
    assert (
        change("UPDATE", RUN, RUN_1, {"CompletionDisposition": "Ghosted"}, commit=1).header.unknown_values
        == ()
    )
    every = {name: values[0] for (entity, name), values in reference.PICKLISTS.items() if entity == STEP}
    assert change("CREATE", STEP, STEP_1, every, commit=1).header.unknown_values == ()


def test_references_of_15_characters_become_those_of_18():
    fields = {"ActionCadenceTrackerId": RUN_1[:15], "TargetId": "no id at all...", "StepTitle": RUN_1[:15]}
    assert change("CREATE", STEP, STEP_1, fields, commit=1).body == {
        **fields,
        "ActionCadenceTrackerId": RUN_1,
    }


@pytest.mark.looptime
async def test_ingest_tells_of_it_once_for_each_event_and_journals_the_value_as_text(tmp_path):
    created = message("CREATE", RUN, RUN_1, {"State": "Running"}, commit=1)
    strange = message("UPDATE", RUN, RUN_1, {"State": "Hibernating", "Mood": "fine"}, commit=2)
    async with tenure(tmp_path / "cadence.db") as rig:
        await rig.open()
        await rig.answer(created, strange)
        await rig.pass_time(2_000)
        event = (await rig.journal())[-1]
        assert (event["type"], event["after"]["State"], event["after"]["Mood"]) == (
            "run.updated",
            "Hibernating",
            "fine",
        )
        assert rig.witness.unknown_values == [(RUN, "State", "Hibernating"), (RUN, "Mood", None)]


@pytest.mark.looptime
async def test_unknown_values_of_one_answer_are_observed_at_once_and_of_the_next_anew(tmp_path):
    strange = [message("UPDATE", RUN, RUN_1, {"Mood": "fine"}, commit=number) for number in range(1, 5)]
    async with tenure(tmp_path / "cadence.db") as rig:
        await rig.open()
        await rig.answer(*strange[:3])
        await rig.answer(strange[3])
        await rig.pass_time(2_000)
        counts = [dict(event.counts) for event in rig.witness.of(UnknownValuesReceived)]
        assert counts == [{(RUN, ("Mood", None)): 3}, {(RUN, ("Mood", None)): 1}]
