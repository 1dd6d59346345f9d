"""The documented samples as models and back, and every rule in the words that a user reads."""

from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

import pytest
from pydantic import ValidationError

from consumer import (
    AssignTarget,
    ChangeAssignee,
    ModifyAttributes,
    PauseRun,
    RemoveTarget,
    ResumeRun,
    SelectTemplate,
    SendEvent,
    Template,
)
from consumer.actions.results import ActionAnswer
from consumer.actions.validation import Disposition, validation_message

LEAD, RUN, STEP, USER = "00Qxx000002TRI2EAO", "0qBR00000005CXvMAM", "8HFR00000005WyqOAE", "005R0000000eg3zIAA"
CADENCE, OPPORTUNITY, INVOICE = "77Cxx0000004CXEEA2", "006R0000003DNpJIAW", "3ttR00000000001IAA"

# "Sales Engagement Actions", Actions Developer Guide: every sample input, with its two mistakes corrected.
SAMPLES = [
    (AssignTarget, {"salesCadenceNameOrId": CADENCE, "targetId": LEAD}),
    (RemoveTarget, {"completionReasonCode": "ManuallyRemoved", "targetId": LEAD}),
    (PauseRun, {"targetId": LEAD, "resumeTime": "2021-06-15T05:30:00.521Z"}),  # sample: …:00:521917Z
    (ResumeRun, {"targetId": LEAD}),
    (ChangeAssignee, {"targetId": LEAD, "userId": USER}),
    (
        ModifyAttributes,
        {
            "actionCadenceTrackerId": RUN,
            "completionDisposition": "Customer Engaged",
            "relatedToId": OPPORTUNITY,
            "relatedToAttributionType": "Activation",
        },
    ),
    (SendEvent, {"recordId": STEP, "eventType": "ManualComplete"}),  # sample: "Manual Complete"
    (SelectTemplate, {"stepTrackerId": "8HFR00000006LE8OAM"}),
    (SelectTemplate, {"stepTrackerId": "8HFR00000006LEDOA2"}),
]

# The sample outputs of the same document, and the general one of "Invoking Actions".
OUTPUTS = [
    {"actionName": "assignTargetToSalesCadence", "isSuccess": True},
    {
        "actionName": "assignTargetToSalesCadence",
        "errors": [
            {
                "statusCode": "UNKNOWN_EXCEPTION",
                "message": "The object needs to be a valid cadence entity.",
                "fields": [],
            }
        ],
        "isSuccess": False,
        "outputValues": {"error": "The object needs to be a valid cadence entity."},
    },
    {
        "actionName": "selectTemplateForSalesCadenceStepTracker",
        "errors": None,
        "isSuccess": True,
        "outputValues": {"output": {"SplitPercentage": 10.0, "TemplateId": "00XR0000000UOtZMAW"}},
    },
    {
        "actionName": "selectTemplateForSalesCadenceStepTracker",
        "errors": [{"statusCode": "UNKNOWN_EXCEPTION", "message": "No template was found.", "fields": []}],
        "isSuccess": False,
        "outputValues": {"error": "No template was found."},
    },
    {
        "actionName": "chatterPost",
        "errors": None,
        "isSuccess": True,
        "outputValues": {"feedItemId": "0D5D0000000kynqKBA"},
    },
]


def broken(kind, **given):
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(given)
    return validation_message(caught.value)


@pytest.mark.parametrize(("kind", "sample"), SAMPLES, ids=lambda each: getattr(each, "action", ""))
def test_a_documented_input_is_read_and_sent_as_it_stands(kind, sample):
    assert kind.model_validate(sample).to_json() == sample


@pytest.mark.parametrize("sample", OUTPUTS)
def test_a_documented_output_is_read_and_written_as_it_stands(sample):
    answer = ActionAnswer.model_validate(sample)
    assert answer.model_dump(mode="json", by_alias=True, exclude_unset=True) == sample


def test_a_template_of_an_output_is_typed():
    found = Template.model_validate(OUTPUTS[2]["outputValues"]["output"])
    assert (found.template_id, found.split_percentage) == ("00XR0000000UOtZMAW", 10.0)


def test_members_that_newer_versions_add_to_an_answer_are_kept():
    newer = {"actionName": "x", "isSuccess": True, "version": 1, "sortOrder": -1, "outcome": None}
    answer = ActionAnswer.model_validate(newer)
    assert answer.model_dump(by_alias=True, exclude_unset=True) == newer


def test_python_names_are_taken_and_salesforce_names_are_sent():
    removal = RemoveTarget(tracker_id=RUN, completion_disposition="Bad Data", should_apply_user_context=True)
    assert removal.to_json() == {
        "actionCadenceTrackerId": RUN,
        "completionReasonCode": "ManuallyRemoved",
        "completionDisposition": "Bad Data",
        "shouldApplyUserContext": True,
    }


def test_ids_are_given_with_15_or_18_characters_and_sent_with_18():
    given = AssignTarget(cadence=CADENCE[:15], target_id=LEAD[:15], user_id=USER[:15])
    assert given.to_json() == {"salesCadenceNameOrId": CADENCE, "targetId": LEAD, "userId": USER}


def test_a_cadence_may_be_named():
    assert AssignTarget(cadence=" Outbound Prospecting ", target_id=LEAD).cadence == "Outbound Prospecting"


def test_a_resume_time_is_sent_in_utc_with_milliseconds_whatever_its_zone():
    noon = datetime(2026, 6, 15, 12, 0, 0, 521917, tzinfo=timezone(timedelta(hours=2)))
    assert PauseRun(target_id=LEAD, resume_time=noon).to_json()["resumeTime"] == "2026-06-15T10:00:00.521Z"
    read = PauseRun.model_validate({"targetId": LEAD, "resumeTime": "2026-06-15T12:00+02:00"})
    assert read.resume_time == datetime(2026, 6, 15, 10, tzinfo=UTC)


RULES = [
    (AssignTarget, {"targetId": LEAD}, "salesCadenceNameOrId is required"),
    (
        AssignTarget,
        {"targetId": LEAD, "salesCadenceNameOrId": " "},
        "salesCadenceNameOrId: give the name or the id of a cadence",
    ),
    (AssignTarget, {"salesCadenceNameOrId": "A"}, "targetId is required"),
    (
        AssignTarget,
        {"targetId": "00Qxx", "salesCadenceNameOrId": "A"},
        "targetId: '00Qxx' is not a Salesforce record id (15 or 18 letters and digits)",
    ),
    (
        AssignTarget,
        {"targetId": LEAD[:-1] + "A", "salesCadenceNameOrId": "A"},
        "targetId: '00Qxx000002TRI2EAA' is not a Salesforce record id: its last three characters should be EAO",
    ),
    (
        AssignTarget,
        {"targetId": RUN, "salesCadenceNameOrId": "A"},
        f"targetId: {RUN} is a run (ActionCadenceTracker); give a Lead, a Contact or a person account",
    ),
    (
        AssignTarget,
        {"targetId": LEAD, "salesCadenceNameOrId": "A", "userId": LEAD},
        f"userId: {LEAD} is another object's; give a user, whose id begins with 005",
    ),
    (
        AssignTarget,
        {"targetId": LEAD, "cadenceName": "A", "salesCadenceNameOrId": "A"},
        "cadenceName is not an input of this action",
    ),
    (
        RemoveTarget,
        {},
        "set either targetId or actionCadenceTrackerId; neither is set",
    ),
    (
        RemoveTarget,
        {"targetId": LEAD, "actionCadenceTrackerId": RUN},
        "set either targetId or actionCadenceTrackerId; both are set",
    ),
    (
        RemoveTarget,
        {"actionCadenceTrackerId": LEAD},
        f"actionCadenceTrackerId: {LEAD} is another object's; give a run (ActionCadenceTracker), whose id begins with 0qB",
    ),
    (
        RemoveTarget,
        {"targetId": LEAD, "completionReasonCode": "NoMoreSteps"},
        "completionReasonCode: 'NoMoreSteps' is not a completion reason. Valid values: ManuallyRemoved",
    ),
    (
        RemoveTarget,
        {"targetId": LEAD, "completionDisposition": "Sucess"},
        "completionDisposition: 'Sucess' is not a disposition; did you mean 'Success'? Valid values: "
        + ", ".join(get_args(Disposition)),
    ),
    (
        RemoveTarget,
        {"targetId": LEAD, "relatedToAttributionType": "Collection Advancement"},
        "relatedToAttributionType: 'Collection Advancement' can be read but not written; write Activation, Maturation or Collected",
    ),
    (
        RemoveTarget,
        {"targetId": LEAD, "relatedToId": INVOICE, "relatedToAttributionType": "Maturation"},
        f"Maturation is for opportunities only, whose ids begin with 006, and relatedToId is {INVOICE}; use Activation or Collected",
    ),
    (
        ModifyAttributes,
        {
            "actionCadenceTrackerId": RUN,
            "relatedToId": OPPORTUNITY,
            "relatedToAttributionType": "Collected",
        },
        f"Collected is for invoices only, and relatedToId {OPPORTUNITY} is an opportunity; use Activation or Maturation",
    ),
    (
        ModifyAttributes,
        {"actionCadenceTrackerId": RUN, "relatedToAttributionType": "Won"},
        "relatedToAttributionType: 'Won' is not an attribution type. Valid values: Activation, Maturation, Collected",
    ),
    (
        ModifyAttributes,
        {"actionCadenceTrackerId": RUN},
        "nothing to modify; set completionDisposition, relatedToId or relatedToAttributionType",
    ),
    (ModifyAttributes, {"completionDisposition": "Success"}, "actionCadenceTrackerId is required"),
    (
        PauseRun,
        {"targetId": LEAD, "resumeTime": "2021-06-15T05:30:00:521917Z"},
        "resumeTime: '2021-06-15T05:30:00:521917Z' is not ISO 8601; use a form such as 2026-01-31T09:30:00.000Z",
    ),
    (
        PauseRun,
        {"targetId": LEAD, "resumeTime": "2021-13-15T05:30:00Z"},
        "resumeTime: '2021-13-15T05:30:00Z' is not ISO 8601; use a form such as 2026-01-31T09:30:00.000Z",
    ),
    (
        PauseRun,
        {"targetId": LEAD, "resumeTime": "2021-06-15T05:30:00"},
        "resumeTime: 2021-06-15T05:30:00 has no time zone; append Z or an offset such as +01:00",
    ),
    (
        SendEvent,
        {"recordId": STEP, "eventType": "Manual Complete"},
        "eventType: 'Manual Complete' is not an event; did you mean 'ManualComplete'? Valid values: Skip, ManualComplete",
    ),
    (
        SendEvent,
        {"recordId": RUN, "eventType": "Skip"},
        f"recordId: {RUN} is a run (ActionCadenceTracker); give a step (ActionCadenceStepTracker), whose id begins with 8HF",
    ),
    (SendEvent, {}, "recordId is required; eventType is required"),
    (
        SelectTemplate,
        {"stepTrackerId": CADENCE},
        f"stepTrackerId: {CADENCE} is a cadence; give a step (ActionCadenceStepTracker), whose id begins with 8HF",
    ),
    (ChangeAssignee, {"targetId": LEAD, "userId": 5}, "userId: Input should be a valid string"),
]


@pytest.mark.parametrize(("kind", "given", "message"), RULES, ids=lambda each: getattr(each, "action", ""))
def test_a_broken_rule_is_told_before_anything_is_sent(kind, given, message):
    assert broken(kind, **given) == message


@pytest.mark.parametrize(
    ("related", "attribution"),
    [
        (OPPORTUNITY, "Maturation"),
        (INVOICE, "Collected"),
        (OPPORTUNITY, "Activation"),
        (INVOICE, "Activation"),
    ],
)
def test_attributions_that_fit_are_taken(related, attribution):
    given = ModifyAttributes(tracker_id=RUN, related_to_id=related, related_to_attribution_type=attribution)
    assert given.to_json()["relatedToAttributionType"] == attribution


def test_an_input_cannot_be_changed_after_it_was_checked():
    removal = RemoveTarget(target_id=LEAD)
    with pytest.raises(ValidationError, match="frozen"):
        removal.target_id = None


def test_only_actions_that_set_or_read_values_are_repeatable():
    kinds = {kind for kind, _ in SAMPLES}
    assert {kind for kind in kinds if kind.repeatable} == {ChangeAssignee, ModifyAttributes, SelectTemplate}
