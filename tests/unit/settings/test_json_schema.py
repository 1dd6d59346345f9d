"""Settings as JSON Schema: it refuses what the service refuses, and describes every setting."""

import tomllib

import jsonschema
import pytest

from consumer.errors import SettingsError
from consumer.settings import load_settings
from tests.support.builders.readme import PAGES, blocks
from tests.unit.settings.conftest import SCHEMA, properties

VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def complaints(text):
    return [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))]


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
