"""Settings in effect, each with its value and its origin."""

import pytest

from consumer.settings.effective import HIDDEN, effective_settings
from consumer.settings.field_paths import field_at
from tests.unit.settings.conftest import properties

FILE = """
[salesforce]
login_url = "https://acme.my.salesforce.com"
client_secret_file = "secret"

[ordering]
lateness = "250ms"

[handlers.my-crm]
use = "jsonl"
settings.path = "https://hooks.example/T0/very-secret"
settings.many = 5
settings.deep.on = true
"""


@pytest.fixture
def shown(tmp_path):
    (tmp_path / "secret").write_text("geheim-1\n")
    (tmp_path / "token").write_text("geheim-2\n")
    (tmp_path / "cadence.toml").write_text(FILE)

    def show(**environ):
        lines = effective_settings(
            tmp_path / "cadence.toml", {f"CADENCE_{key}": value for key, value in environ.items()}
        )
        return {one.setting: (one.value, one.origin, one.source) for one in lines}

    return show


def test_each_value_names_the_place_it_comes_from(shown, tmp_path):
    told = shown(
        HTTP__TOKEN_FILE=str(tmp_path / "token"),
        LOG__LEVEL="debug",
        HANDLERS__MY_CRM__ON="run.*, step.failed",
        STORE__PREFIX="",
    )
    config = str(tmp_path / "cadence.toml")
    assert told["salesforce.login_url"] == ("https://acme.my.salesforce.com", "file", config)
    assert told["salesforce.client_secret"] == (
        HIDDEN,
        "secret_file",
        f"{tmp_path}/secret (client_secret_file in {config})",
    )
    assert told["http.token"] == (HIDDEN, "secret_file", f"{tmp_path}/token (CADENCE_HTTP__TOKEN_FILE)")
    assert told["log.level"] == ("debug", "environment", "CADENCE_LOG__LEVEL")
    assert told["handlers.my-crm.on"] == (
        ["run.*", "step.failed"],
        "environment",
        "CADENCE_HANDLERS__MY_CRM__ON",
    )
    assert told["handlers.my-crm.use"] == ("jsonl", "file", config)
    assert told["store.prefix"] == ("cadence", "default", None), "an empty variable counts as unset"
    assert told["ordering.lateness"] == ("250ms", "file", config)
    assert told["ordering.max_hold"] == ("5s", "default", None)


def test_a_variable_wins_over_the_file_and_one_that_holds_a_table_is_named_for_all_of_it(shown):
    told = shown(ORDERING__LATENESS="2s", HANDLERS__X__USE="log", HANDLERS__X__SETTINGS='{"a": {"b": 1}}')
    assert told["ordering.lateness"] == ("2s", "environment", "CADENCE_ORDERING__LATENESS")
    assert told["handlers.x.settings.a.b"] == (1, "environment", "CADENCE_HANDLERS__X__SETTINGS")


def test_every_setting_is_shown_and_no_secret_is(shown):
    told = shown(
        STORE__URL="redis://user:geheim-3@cache/0",
        SALESFORCE__PASSWORD="geheim-4",
        HANDLERS__MY_CRM__SETTINGS__KEY="geheim-5",
    )
    assert told["store.url"] == ("redis://user:***@cache/0", "environment", "CADENCE_STORE__URL")
    assert told["handlers.my-crm.settings.key"] == (
        HIDDEN,
        "environment",
        "CADENCE_HANDLERS__MY_CRM__SETTINGS__KEY",
    )
    assert told["handlers.my-crm.settings.path"][0] == HIDDEN, "only the handler knows whether it is a secret"
    assert told["handlers.my-crm.settings.many"][0] == 5
    assert told["handlers.my-crm.settings.deep.on"][0] is True
    assert "geheim" not in repr(told)
    assert "very-secret" not in repr(told)
    assert [
        path for path, _ in properties() if field_at(path) is not None and ".".join(path) not in told
    ] == []


def test_what_is_shown_without_a_file_is_the_default_handler_and_defaults():
    lines = effective_settings(None, {})
    assert {one.origin for one in lines} == {"default"}
    assert ("handlers.log.use", "log") in [(one.setting, one.value) for one in lines]
