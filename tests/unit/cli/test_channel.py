"""``channel generate``: documents that Salesforce documents, for a channel that the service can subscribe to."""

import xml.etree.ElementTree as ET

import pytest

from consumer.domain.objects import RUN, STEP
from consumer.sandbox import Sandbox, SandboxOptions
from consumer.settings import load_settings
from tests.support.processes.service_process import settings_for
from tests.unit.cli.test_doctor import doctor

MD = "{http://soap.sforce.com/2006/04/metadata}"


def tree(element):
    """Tags and texts, so that documents compare whatever their white space."""
    tag = element.tag.removeprefix(MD)
    return (tag, [tree(child) for child in element]) if len(element) else (tag, element.text)


def read(path):
    return tree(ET.fromstring(path.read_bytes()))


def test_the_files_are_a_deployment_of_the_metadata_api(call, tmp_path):
    result = call("channel", "generate", "--out", str(tmp_path / "md"), "--label", "Sales & <more>")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert 'channels = ["/data/Cadences__chn"]' in result.stderr
    folder = tmp_path / "md"
    members = {
        STEP: "Cadences_chn_ActionCadenceStepTrackerChangeEvent",
        RUN: "Cadences_chn_ActionCadenceTrackerChangeEvent",
    }
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == {
        "package.xml",
        "platformEventChannels/Cadences__chn.platformEventChannel",
        *(f"platformEventChannelMembers/{name}.platformEventChannelMember" for name in members.values()),
    }
    assert read(folder / "platformEventChannels/Cadences__chn.platformEventChannel") == (
        "PlatformEventChannel", [("channelType", "data"), ("label", "Sales & <more>")],
    )  # fmt: skip
    for entity, name in members.items():
        assert read(folder / f"platformEventChannelMembers/{name}.platformEventChannelMember") == (
            "PlatformEventChannelMember", [("eventChannel", "Cadences__chn"), ("selectedEntity", f"{entity}ChangeEvent")],
        )  # fmt: skip
    kind, parts = read(folder / "package.xml")
    assert (kind, parts[-1]) == ("Package", ("version", "66.0"))
    assert {
        part[1][-1][1]: sorted(text for tag, text in part[1] if tag == "members") for part in parts[:-1]
    } == {
        "PlatformEventChannel": ["Cadences__chn"],
        "PlatformEventChannelMember": sorted(members.values()),
    }


def test_without_a_folder_the_same_documents_are_printed_each_with_its_path(call, tmp_path):
    call("channel", "generate", "--out", str(tmp_path))
    printed = call("channel", "generate").stdout
    for path in tmp_path.rglob("*.*"):
        declaration, _, rest = path.read_text().partition("\n")
        assert f"{declaration}\n<!-- {path.relative_to(tmp_path)} -->\n{rest}" in printed


def test_requests_to_the_tooling_api_come_one_a_line_the_channel_first(lines):
    channel, *members = lines("channel", "generate", "--name", "/data/My_Cadences__chn")
    at = "/services/data/v66.0/tooling/sobjects"
    assert channel == {
        "method": "POST",
        "path": f"{at}/PlatformEventChannel",
        "body": {
            "FullName": "My_Cadences__chn",
            "Metadata": {"channelType": "data", "label": "Sales Engagement cadences"},
        },
    }
    assert {one["path"] for one in members} == {f"{at}/PlatformEventChannelMember"}
    assert {one["body"]["Metadata"]["selectedEntity"]: one["body"]["FullName"] for one in members} == {
        f"{entity}ChangeEvent": f"My_Cadences_chn_{entity}ChangeEvent" for entity in (RUN, STEP)
    }
    assert {one["body"]["Metadata"]["eventChannel"] for one in members} == {"My_Cadences__chn"}
    assert [one["body"]["Metadata"]["enrichedFields"] for one in members] == [[], []]


def test_enriched_fields_are_those_that_never_change_and_that_the_object_has(lines, call, tmp_path):
    requests = lines("channel", "generate", "--enrich")[1:]
    fields = {
        one["body"]["Metadata"]["selectedEntity"]: [
            each["name"] for each in one["body"]["Metadata"]["enrichedFields"]
        ]
        for one in requests
    }
    assert fields == {
        "ActionCadenceTrackerChangeEvent": ["TargetId", "ActionCadenceId"],
        "ActionCadenceStepTrackerChangeEvent": [
            "TargetId",
            "ActionCadenceId",
            "ActionCadenceTrackerId",
            "StepType",
        ],
    }
    call("channel", "generate", "--enrich", "--out", str(tmp_path))
    (path,) = tmp_path.rglob("*chn_ActionCadenceTracker*")
    assert read(path)[1][:2] == [
        ("enrichedFields", [("name", "TargetId")]),
        ("enrichedFields", [("name", "ActionCadenceId")]),
    ]


@pytest.mark.parametrize("name", ["", "1st", "a__b", "_a", "a_", "with space", "x" * 81, "Café"])
def test_a_name_that_salesforce_would_refuse_is_a_usage_error(call, name):
    result = call("channel", "generate", "--name", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not a valid channel name" in result.stderr


def test_a_folder_that_cannot_be_written_is_named(call, tmp_path):
    (tmp_path / "file").write_text("")
    result = call("channel", "generate", "--out", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"--out: {tmp_path}/file/package.xml cannot be written: ")


async def test_the_service_takes_the_channel_and_an_org_that_has_it_acknowledges(lines, tmp_path):
    requests = lines("channel", "generate")
    name = f"/data/{requests[0]['body']['FullName']}"
    entities = tuple(
        one["body"]["Metadata"]["selectedEntity"].removesuffix("ChangeEvent") for one in requests[1:]
    )
    assert load_settings(None, {"CADENCE_CHANNELS": name}, connects=False).channels == (name,)
    async with Sandbox(SandboxOptions(custom_channels={name: entities})) as sandbox:
        code, findings, output = await doctor(settings_for(sandbox, tmp_path, CADENCE_CHANNELS=name))
    assert code == 0, output
    (told,) = [each["message"] for each in findings if each["check"] == "channel"]
    assert (
        told
        == f"{name} is acknowledged; it silently omits objects on which the user has no 'View All Records'"
    )
    assert sorted(entities) == sorted((RUN, STEP))
