"""Commands that look into the store: data on standard output, words on standard error."""

import json

import pytest

from tests.unit.cli.conftest import CHANNEL, ORG, OTHER_RUN, RUN_ID, STEP_ID, STORY

# ---------------------------------------------------------------- tail


def ids(printed):
    return [event["id"] for event in printed]


def test_tail_prints_the_journal_from_the_beginning_in_order(lines):
    assert ids(lines("tail", "--earliest", "--no-follow")) == [event.id for event in STORY]


def test_tail_prints_exactly_the_json_of_the_journal(call):
    result = call("tail", "--earliest", "--no-follow", "--json")
    assert result.stdout.encode().splitlines() == [event.to_json() for event in STORY]
    assert result.stderr == ""


def test_tail_begins_with_the_last_ten_or_as_many_as_asked_for(lines):
    assert ids(lines("tail", "--no-follow")) == ids(lines("tail", "--earliest", "--no-follow"))
    assert ids(lines("tail", "--no-follow", "-n", "2")) == ["event-4", "event-5"]


def test_tail_from_an_offset_ends_after_the_count_even_when_following(lines):
    assert ids(lines("tail", "--from-offset", "2", "-n", "2", "--follow")) == ["event-2", "event-3"]


def test_tail_selects_types_by_pattern_and_runs_by_any_form_of_the_id(lines):
    assert ids(lines("tail", "--no-follow", "--type", "run.ended.*", "--type", "step.created")) == [
        "event-2",
        "event-5",
    ]
    assert ids(lines("tail", "--no-follow", "--run", OTHER_RUN[:15])) == ["event-3"]
    assert ids(
        lines("tail", "--no-follow", "--run", f"https://x.lightning.force.com/lightning/r/{OTHER_RUN}/view")
    ) == ["event-3"]
    assert ids(lines("tail", "--no-follow", "--run", RUN_ID, "-n", "1", "--type", "step.*")) == ["event-4"]


def test_tail_selects_targets_and_cadences_by_id_or_name(lines):
    assert ids(lines("tail", "--no-follow", "--target", "00Qxx0000004C92")) == ["event-1"]
    assert ids(lines("tail", "--no-follow", "--target", RUN_ID)) == []
    assert ids(lines("tail", "--no-follow", "--cadence", "outbound")) == ["event-1"]
    assert ids(lines("tail", "--no-follow", "--cadence", "77Cxx0000004C92")) == ["event-3"]
    assert ids(lines("tail", "--no-follow", "--cadence", "Out")) == [], "a name is a whole name"


def test_tail_selects_origins_and_all_filters_have_to_hold(lines, call):
    assert ids(lines("tail", "--no-follow", "--origin", "repair")) == ["event-3"]
    assert ids(lines("tail", "--no-follow", "--origin", "repair", "--origin", "stream")) == [
        event.id for event in STORY
    ]
    assert ids(lines("tail", "--no-follow", "--origin", "repair", "--type", "run.ended.*")) == []
    assert ids(lines("tail", "--no-follow", "--origin", "repair", "--run", OTHER_RUN)) == ["event-3"]
    result = call("tail", "--no-follow", "--origin", "rest")
    assert (result.exit_code, result.stderr) == (
        2, "--origin: there is no origin rest; origins are stream, snapshot, gap, repair, timer\n",
    )  # fmt: skip


def test_the_origins_are_those_of_events():
    from consumer.cli.tail import ORIGINS
    from consumer.domain.lifecycle_events import Origin

    assert list(ORIGINS) == [origin.value for origin in Origin]


def test_tail_for_people_names_type_run_step_and_marks(call):
    out = call("tail", "--no-follow", "-n", "2").stdout.splitlines()
    assert out[0].split() == [
        "4", "2026-01-31T09:30:04.000Z", "step.ended.completed", RUN_ID, "-", "First", "Touch", "[late]",
    ]  # fmt: skip
    assert "run.ended.finished" in out[1]


def test_tail_refuses_a_pattern_that_matches_nothing_and_suggests(call):
    result = call("tail", "--no-follow", "--type", "run.endd.finished")
    assert result.exit_code == 2
    assert (
        result.stderr == "--type: run.endd.finished matches no event type; did you mean run.ended.finished?\n"
    )


def test_tail_refuses_two_beginnings(call):
    result = call("tail", "--earliest", "--from-offset", "3")
    assert (result.exit_code, result.stderr) == (
        2,
        "--earliest and --from-offset exclude each other; give one of them\n",
    )


def test_an_id_that_is_none_is_a_usage_error(call):
    result = call("tail", "--no-follow", "--run", "nonsense")
    assert result.exit_code == 2
    assert "contains no Salesforce record id" in result.stderr


# ---------------------------------------------------------------- timeline and state


@pytest.mark.parametrize("given", [RUN_ID, RUN_ID[:15], STEP_ID])
def test_a_timeline_is_the_story_of_the_run_also_when_asked_by_one_of_its_steps(lines, given):
    story = lines("timeline", given)
    assert [(line["type"], line["before"], line["after"]) for line in story] == [
        ("run.enrolled", None, "Running"),
        ("step.created", None, "Active"),
        ("step.ended.completed", "Active", "Completed"),
        ("run.ended.finished", "Running", "Completed"),
    ]
    assert story[2]["late"]
    assert story[2]["step"] == "First Touch"


def test_a_timeline_for_people_shows_states_and_marks_and_names_the_run_on_standard_error(call):
    result = call("timeline", RUN_ID)
    assert "Active → Completed" in result.stdout
    assert "late" in result.stdout
    assert result.stderr.startswith(f"run {RUN_ID} of target 00Q")
    assert result.stderr.endswith("in Outbound\n")


def test_a_record_that_nobody_has_seen_is_a_failure_that_says_so(call):
    for command, message in (
        (["timeline"], "the journal has no events of 0qBxx0000004CZZEA2: "),
        (["state", "show"], "there is no state of 0qBxx0000004CZZEA2: "),
    ):
        result = call(*command, "0qBxx0000004CZZ")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith(message)


def test_state_shows_every_field_and_tells_empty_from_unknown(call, lines):
    (line,) = lines("state", "show", RUN_ID)
    assert line["fields"] == {"State": "Completed", "ErrorMessage": None, "OwnerId": "005x"}
    assert (line["entity"], line["deleted"], line["complete"]) == ("ActionCadenceTracker", False, True)
    assert "(empty)" in call("state", "show", RUN_ID[:15]).stdout


# ---------------------------------------------------------------- checkpoint, handlers, dead letters


def test_checkpoint_shows_position_org_and_lease_holder(lines):
    (line,) = lines("checkpoint", "show")
    assert line.pop("age_ms") > 0
    assert line == {
        "channel": CHANNEL,
        "position": "opaque-7",
        "position_time": "2023-11-14T22:14:20.000Z",
        "birth": "2023-11-14T22:13:20.000Z",
        "polled_through": None,
        "org_id": ORG,
        "lease_holder": "pod-1/17",
    }


def test_checkpoint_for_people_names_channels_that_were_never_subscribed(call):
    result = call("checkpoint", "show")
    assert "opaque-7" in result.stdout
    assert "lease held by pod-1/17" in result.stderr
    assert (
        "/data/ActionCadenceTrackerChangeEvent is configured but has never been subscribed" in result.stderr
    )


def test_handlers_list_gives_place_and_lag_and_what_is_installed(lines):
    printed = lines("handlers", "list")
    assert printed[0] == {
        "kind": "configured",
        "name": "notify",
        "use": "log",
        "on": ["run.*"],
        "status": "enabled",
        "offset": 4,
        "lag": 1,
        "blocked_runs": 0,
        "dead_letters": 1,
        "commands": [],
    }
    assert {"kind": "installed", "name": "log", "use": "handlers.log:log"} in printed


def test_handlers_are_listed_before_the_service_has_ever_run(call, tmp_path):
    result = call("handlers", "list", "--json", CADENCE_STORE__URL=f"sqlite:///{tmp_path / 'none.db'}")
    assert result.exit_code == 0
    assert result.stderr.startswith("offsets and lags are unknown: store sqlite:///")
    first = json.loads(result.stdout.splitlines()[0])
    assert (first["name"], first["offset"], first["lag"]) == ("notify", None, None)


def test_the_default_handler_and_former_ones_are_listed_too(lines, environ):
    for key in [key for key in environ if "HANDLERS" in key]:
        del environ[key]
    default, former = lines("handlers", "list")[:2]
    assert (default["name"], default["status"]) == ("log", "enabled")
    assert (former["name"], former["status"], former["offset"]) == ("notify", "not configured any more", 4)


def test_dead_letters_of_ingest_and_handlers_come_in_one_list(lines):
    message, event = lines("dead-letters", "list")
    assert (message["kind"], message["id"], message["channel"], message["position"]) == (
        "ingest",
        "bad-1",
        CHANNEL,
        "opaque-6",
    )
    assert message["reason"] == "no_header"
    assert (event["kind"], event["handler"], event["id"], event["offset"]) == (
        "handler",
        "notify",
        "event-3",
        3,
    )
    assert event["why"] == "ValueError: no (after 10 attempts)"


def test_raw_prints_the_exact_bytes_and_nothing_else(process, store_file):
    result = process("dead-letters", "list", "--raw", "bad-1", CADENCE_STORE__URL=f"sqlite:///{store_file}")
    assert result.stdout.encode() == b'{"x": "\xc3\xa9"}\n'
    assert result.stderr == ""


def test_raw_of_an_unknown_id_fails(call):
    result = call("dead-letters", "list", "--raw", "nope")
    assert (result.exit_code, result.stderr) == (
        1,
        "there is no dead letter nope; `dead-letters list` shows them\n",
    )


def test_dead_letters_for_people_show_first_bytes(call):
    out = call("dead-letters", "list").stdout
    assert '{"x": "é"}' in out
    assert "notify" in out


def test_a_store_that_does_not_exist_yet_is_unavailable_and_is_not_created(call, tmp_path):
    missing = tmp_path / "none.db"
    result = call("tail", "--no-follow", CADENCE_STORE__URL=f"sqlite:///{missing}")
    assert result.exit_code == 69
    assert result.stderr.startswith(f"store sqlite:///{missing} is unavailable: ")
    assert result.stderr.count("\n") == 1
    assert not missing.exists()


def test_brackets_in_data_are_not_markup(call, environ):
    environ["CADENCE_HANDLERS__NOTIFY__USE"] = "my.module:[red]x"
    assert "my.module:[red]x" in call("handlers", "list").stdout


def test_json_lines_are_one_object_each(call):
    for command in (
        ["tail", "--no-follow"],
        ["checkpoint", "show"],
        ["handlers", "list"],
        ["dead-letters", "list"],
    ):
        out = call(*command, "--json").stdout
        assert out.endswith("\n")
        assert all(isinstance(json.loads(line), dict) for line in out.splitlines())


# ---------------------------------------------------------------- config


def test_config_show_tells_value_and_origin_of_every_setting(lines, environ):
    told = {line["setting"]: line for line in lines("config", "show")}
    assert told["handlers.notify.on"] == {
        "setting": "handlers.notify.on", "value": ["run.*"], "origin": "environment", "source": "CADENCE_HANDLERS__NOTIFY__ON",
    }  # fmt: skip
    assert told["store.url"]["value"] == environ["CADENCE_STORE__URL"]
    assert told["http.port"] == {"setting": "http.port", "value": 8080, "origin": "default", "source": None}


def test_config_show_for_people_is_a_table_without_secrets(call):
    out = call("config", "show", CADENCE_SALESFORCE__CLIENT_SECRET="geheim").stdout
    assert "CADENCE_SALESFORCE__CLIENT_SECRET" in out
    assert "geheim" not in out
    assert ["shutdown.grace", "25s", "default"] in [line.split() for line in out.splitlines()]


def test_config_show_of_unusable_settings_names_the_problems(call):
    result = call("config", "show", CADENCE_HTTP__PORT="http")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "http.port: must be a whole number, not 'http' (set by CADENCE_HTTP__PORT)\n"


def test_config_schema_is_one_document_for_people_and_one_line_for_programs(call, lines):
    (one,) = lines("config", "schema")
    assert json.loads(call("config", "schema").stdout) == one
    assert one["$defs"]["StoreSettings"]["properties"]["url"]["x-environment"] == "CADENCE_STORE__URL"
