"""What the service can be told, as JSON Schema, and what it is told, with where each value comes from."""

import tomllib

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.durations import format_ms, parse_ms
from consumer.errors import SettingsError
from consumer.settings import load_settings
from consumer.settings.effective import HIDDEN, effective_settings
from consumer.settings.field_paths import field_at
from consumer.settings.json_schema import settings_schema
from tests.support.builders.readme import PAGES, blocks

SCHEMA = settings_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def complaints(text):
    return [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))]


# ---------------------------------------------------------------- schema


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_settings_file_of_the_pages_passes_and_starts_with_the_right_credentials():
    files = [block for page in PAGES for block in blocks(page, "toml") if "[build-system]" not in block]
    assert len(files) >= 4
    for block in files:
        assert complaints(block) == [], block


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[stroe]\nurl = 'x'", "'stroe' was unexpected"),
        ("[ordering]\nlatness = '1s'", "'latness' was unexpected"),
        ("[http]\nport = 'http'", "is not of type 'integer'"),
        ("[http]\nport = 70000", "greater than the maximum of 65535"),
        ("[salesforce]\nauth = 'magic'", "'magic' is not one of"),
        ("[handlers.a]\non = 'run.*'", "'use' is a required property"),
        ("[handlers.'1a']\nuse = 'log'", "does not match any of the regexes"),
        ("channels = []", "should be non-empty"),
        ("[snapshot]\nmode = 'always'", "'always' is not one of"),
    ],
)
def test_what_the_service_refuses_by_its_form_the_schema_refuses_too(tmp_path, text, complaint):
    (said,) = complaints(text)
    assert complaint in said
    (tmp_path / "cadence.toml").write_text(text)
    with pytest.raises(SettingsError):
        load_settings(tmp_path / "cadence.toml", {}, connects=False)


def test_spans_are_written_with_units_secrets_may_stand_in_files_and_own_settings_are_free():
    assert complaints(
        '[ordering]\nlateness = "500ms"\nmax_hold = 5\n[salesforce]\nclient_secret_file = "/run/secrets/x"\n'
        '[store]\nurl_file = "/run/secrets/y"\n[handlers.a]\nuse = "x:y"\non = ["run.*"]\nmax_age = "24h"\nsettings = {any = {thing = [1]}}'
    ) == []  # fmt: skip


def properties():
    """Path and schema of every setting of the service's own."""
    for section, told in SCHEMA["properties"].items():
        if "$ref" in told:
            definition = SCHEMA["$defs"][told["$ref"].rsplit("/", 1)[1]]
            yield from (((section, key), one) for key, one in definition["properties"].items())
        elif section != "handlers":
            yield (section,), told


def test_every_setting_is_described():
    told = [*properties(), *SCHEMA["$defs"]["HandlerSpec"]["properties"].items()]
    assert len(told) > 50
    assert [path for path, one in told if not one.get("description")] == []


def test_the_defaults_that_the_schema_tells_mean_what_the_service_does_without_them():
    told = {one["x-environment"]: one["default"] for _, one in properties() if "default" in one}
    assert len(told) > 25
    environ = {
        name: ",".join(value)
        if isinstance(value, list)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
        for name, value in told.items()
    }
    assert load_settings(None, environ, connects=False) == load_settings(None, {}, connects=False)


@given(st.integers(min_value=0, max_value=10**12))
def test_a_span_is_read_back_as_it_was_written(ms):
    assert parse_ms(format_ms(ms)) == ms


# ---------------------------------------------------------------- origins


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
