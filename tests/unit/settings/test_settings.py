"""What the settings accept, refuse and say. Messages are compared exactly: they are what a person works with."""

import pytest

from consumer.errors import SettingsError
from consumer.settings import AuthFlow, load_settings

GOOD = {
    "CADENCE_SALESFORCE__LOGIN_URL": "https://acme.my.salesforce.com",
    "CADENCE_SALESFORCE__CLIENT_ID": "3MVG9",
    "CADENCE_SALESFORCE__CLIENT_SECRET": "hush-hush",
}

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----"


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "cadence.toml"
        path.write_text(text)
        return path

    return write


def problems(config=None, environ=None, *, connects=True):
    with pytest.raises(SettingsError) as caught:
        load_settings(config, environ or {}, connects=connects)
    return [str(problem) for problem in caught.value.problems]


def only_problem(config=None, environ=None):
    return problems(config, {**GOOD, **(environ or {})})


# ---------------------------------------------------------------- accepted


def test_defaults_are_those_of_the_documentation():
    settings = load_settings(None, GOOD)
    assert settings.channels == (
        "/data/ActionCadenceTrackerChangeEvent",
        "/data/ActionCadenceStepTrackerChangeEvent",
    )
    assert (settings.ordering.lateness, settings.ordering.window) == (1_000, 1_000)
    assert (settings.ordering.max_hold, settings.ordering.strict) == (5_000, True)
    assert (settings.commit.max_events, settings.commit.max_delay) == (500, 20)
    assert (settings.lease.ttl, settings.lease.renew) == (15_000, 5_000)
    assert settings.shutdown.grace == 25_000
    assert (settings.http.host, settings.http.port, settings.http.token) == ("127.0.0.1", 8080, None)
    assert (settings.replay.start, settings.replay.on_expired) == ("latest", "repair")
    assert (str(settings.store.path), settings.store.synchronous) == ("cadence.db", "normal")
    assert settings.salesforce.api_version == "66.0"


def test_every_default_named_in_a_description_is_a_default_that_validates():
    spelled = {
        "CADENCE_ORDERING__LATENESS": "1s",
        "CADENCE_ORDERING__MAX_HOLD": "5s",
        "CADENCE_COMMIT__MAX_DELAY": "20ms",
        "CADENCE_LEASE__TTL": "15s",
        "CADENCE_LEASE__RENEW": "5s",
        "CADENCE_SHUTDOWN__GRACE": "25s",
    }
    assert load_settings(None, {**GOOD, **spelled}) == load_settings(None, GOOD)


def test_the_environment_wins_over_the_file_key_by_key(toml):
    config = toml('[ordering]\nlateness = "2s"\nwindow = 50\n')
    settings = load_settings(config, {**GOOD, "CADENCE_ORDERING__LATENESS": "500ms"})
    assert (settings.ordering.lateness, settings.ordering.window) == (500, 50)


def test_a_handlers_own_settings_are_reached_through_the_environment_and_the_file(toml):
    config = toml('[handlers.crm-sync]\nuse = "jsonl"\n[handlers.crm-sync.settings]\npath = "a"\nkeep = 3\n')
    environ = {
        **GOOD,
        "CADENCE_HANDLERS__CRM_SYNC__SETTINGS__PATH": "b",
        "CADENCE_HANDLERS__CRM_SYNC__ON": "run.*, step.failed",
        "CADENCE_HANDLERS__NOTIFY__USE": "log",
        "CADENCE_HANDLERS__NOTIFY__SETTINGS__HEADERS": '{"x": ["y"]}',
    }
    handlers = load_settings(config, environ).handlers
    assert handlers["crm-sync"].settings == {"path": "b", "keep": 3}
    assert handlers["crm-sync"].on == ("run.*", "step.failed")
    assert handlers["notify"].settings == {"headers": {"x": ["y"]}}


def test_channels_in_the_environment_are_separated_by_commas_or_json():
    for text in ("/data/ChangeEvents,/data/Cadences__chn", '["/data/ChangeEvents", "/data/Cadences__chn"]'):
        settings = load_settings(None, {**GOOD, "CADENCE_CHANNELS": text})
        assert settings.channels == ("/data/ChangeEvents", "/data/Cadences__chn")


def test_an_empty_variable_counts_as_unset():
    assert load_settings(None, {**GOOD, "CADENCE_HTTP__TOKEN": ""}).http.token is None


def test_variables_that_kubernetes_injects_for_services_are_not_settings():
    injected = {
        "CADENCE_CONSUMER_SERVICE_HOST": "10.0.0.1",
        "CADENCE_CONSUMER_SERVICE_PORT": "8080",
        "CADENCE_CONSUMER_SERVICE_PORT_HTTP": "8080",
        "CADENCE_CONSUMER_PORT": "tcp://10.0.0.1:8080",
        "CADENCE_CONSUMER_PORT_8080_TCP_ADDR": "10.0.0.1",
        "CADENCE_SERVICE_HOST": "10.0.0.1",
    }
    assert load_settings(None, {**GOOD, **injected}) == load_settings(None, GOOD)


def test_commands_that_never_connect_need_no_credentials():
    assert load_settings(None, {}, connects=False).store.shown == "sqlite:///cadence.db"


@pytest.mark.parametrize("host", ["http://localhost:8180", "http://127.0.0.1:8180", "http://[::1]:8180/"])
def test_plain_http_is_accepted_on_this_machine_alone(host):
    assert load_settings(
        None, {**GOOD, "CADENCE_SALESFORCE__LOGIN_URL": host}
    ).salesforce.login_url == host.rstrip("/")


def test_a_sqlite_url_says_file_and_durability():
    store = load_settings(
        None, {**GOOD, "CADENCE_STORE__URL": "sqlite:////var/lib/c.db?synchronous=full"}
    ).store
    assert (str(store.path), store.synchronous) == ("/var/lib/c.db", "full")


# ---------------------------------------------------------------- secrets


def test_a_secret_may_stand_in_a_file_that_the_environment_names(tmp_path):
    (tmp_path / "secret").write_text("from-file\n")
    environ = {k: v for k, v in GOOD.items() if not k.endswith("SECRET")}
    environ["CADENCE_SALESFORCE__CLIENT_SECRET_FILE"] = str(tmp_path / "secret")
    secret = load_settings(None, environ).salesforce.client_secret
    assert secret is not None
    assert secret.get_secret_value() == "from-file"


def test_a_secret_file_in_the_toml_is_relative_to_it(toml, tmp_path):
    (tmp_path / "key.pem").write_text(PEM + "\n")
    config = toml(
        '[salesforce]\nauth = "jwt"\nclient_id = "c"\nusername = "u@x"\nprivate_key_file = "key.pem"\n'
    )
    salesforce = load_settings(config, {}).salesforce
    assert salesforce.auth is AuthFlow.JWT
    assert salesforce.private_key is not None
    assert salesforce.private_key.get_secret_value() == PEM


def test_a_key_with_escaped_line_breaks_gets_real_ones():
    environ = {
        "CADENCE_SALESFORCE__AUTH": "jwt",
        "CADENCE_SALESFORCE__CLIENT_ID": "c",
        "CADENCE_SALESFORCE__USERNAME": "u@x",
        "CADENCE_SALESFORCE__PRIVATE_KEY": PEM.replace("\n", "\\n"),
    }
    key = load_settings(None, environ).salesforce.private_key
    assert key is not None
    assert key.get_secret_value() == PEM


def test_the_environment_file_wins_over_the_toml_secret(toml, tmp_path):
    (tmp_path / "token").write_text("newer")
    config = toml('[http]\ntoken = "older"\n')
    token = load_settings(config, {**GOOD, "CADENCE_HTTP__TOKEN_FILE": str(tmp_path / "token")}).http.token
    assert token is not None
    assert token.get_secret_value() == "newer"


def test_no_representation_of_the_settings_shows_a_secret(toml):
    config = toml('[handlers.h]\nuse = "jsonl"\n[handlers.h.settings]\npassword = "handler-secret"\n')
    settings = load_settings(config, {**GOOD, "CADENCE_HTTP__TOKEN": "http-token"})
    for text in (repr(settings), str(settings), repr(settings.salesforce), repr(settings.http)):
        assert "hush-hush" not in text
        assert "http-token" not in text
        assert "handler-secret" not in text
    assert sorted(settings.secrets()) == ["http-token", "hush-hush"]


def test_no_problem_repeats_a_secret(toml):
    config = toml("[http]\ntoken = 123456789\n[salesforce]\nprivate_key = 'secret-text'\nauth = 'jwt'\n")
    text = "\n".join(problems(config))
    assert "123456789" not in text
    assert "secret-text" not in text
    assert "http.token: must be text" in text
    assert (
        "salesforce.private_key: must be an unencrypted RSA private key as PEM text (-----BEGIN PRIVATE KEY-----…)"
        in text
    )


# ---------------------------------------------------------------- refused, in which words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[ordering]\nlatness = 1", "ordering.latness: is not a setting; did you mean ordering.lateness?"),
        ("[odering]\nlateness = 1", "odering: is not a setting; did you mean ordering?"),
        ("[zzz]\nqqq = 1", "zzz: is not a setting"),
        ("channels = []", "channels: must not be empty, not []"),
        (
            'channels = ["/data/ChangeEvents", "/data/ChangeEvents"]',
            "channels: contains /data/ChangeEvents twice; keep one",
        ),
        (
            'channels = ["/event/Order__e"]',
            ("channels: must name change-event channels such as /data/ActionCadenceTrackerChangeEvent, "
            "/data/ChangeEvents or /data/Cadences__chn, not '/event/Order__e'"),
        ),
        (
            '[store]\nurl = "redis+sentinel://cache:26379/0"',
            "store.url: redis+sentinel:// is not supported yet; name the primary with redis:// or rediss://",
        ),
        (
            '[store]\nurl = "postgres://db"',
            "store.url: must be sqlite:///FILE (three slashes: relative, four: absolute), redis://, rediss:// or unix://",
        ),
        (
            '[store]\nurl = "sqlite://cadence.db"',
            ("store.url: must name a file after three slashes (relative) or four (absolute), "
            "as in sqlite:///cadence.db or sqlite:////var/lib/cadence/cadence.db"),
        ),
        (
            '[store]\nurl = "sqlite:///c.db?mode=ro"',
            "store.url: accepts ?synchronous=normal (default) or ?synchronous=full after the file, not ?mode=ro",
        ),
        (
            '[ordering]\nlateness = "soon"',
            'ordering.lateness: must be a duration such as "500ms", "1s", "15m", "72h" or a number of seconds, not \'soon\'',
        ),
        ('[ordering]\nlateness = "2m"', "ordering.lateness: must be at most 1 min, not 2 min"),
        ('[ordering]\nlateness = "8s"', "ordering.max_hold: must be at least ordering.lateness (8 s), not 5 s"),
        (
            '[state]\nretention = "3d"',
            ("state.retention: must be at least 4d, because Salesforce may deliver a change again for that long, or 0 to keep ended runs "
            "forever, not 3 d"),
        ),
        ('[lease]\nttl = "8s"', "lease.renew: must be at most half of lease.ttl (8 s), not 5 s"),
        ("[commit]\nmax_events = 0", "commit.max_events: must be at least 1, not 0"),
        ('[commit]\nmax_events = "many"', "commit.max_events: must be a whole number, not 'many'"),
        ('[ordering]\nstrict = "perhaps"', "ordering.strict: must be true or false, not 'perhaps'"),
        (
            '[log]\nlevel = "warn"',
            "log.level: must be one of debug, info, warning, error, not 'warn'; did you mean warning?",
        ),
        ("store = 5", "store: must be a table of keys, not 5"),
        ('[handlers.h]\nus = "log"', "handlers.h.us: is not a setting; did you mean handlers.h.use?"),
        ('[salesforce]\napi_version = "44.0"', 'salesforce.api_version: must be an API version such as "66.0", at least "48.0", not \'44.0\''),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_file_is_said_with_its_name_and_what_to_do(toml, text, message):
    said = only_problem(toml(text))
    # A misspelt key that was required is also missing; everything else is one problem alone.
    assert message in said
    assert len(said) == 1 or "use" in message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CADENCE_STROE__URL", "x", "CADENCE_STROE__URL: is not a setting; did you mean CADENCE_STORE__URL?"),
        ("CADENCE_STORE_URL", "x", "CADENCE_STORE_URL: is not a setting; did you mean CADENCE_STORE__URL?"),
        (
            "CADENCE_SALESFORCE__CLIENT_SECRT_FILE",
            "x",
            "CADENCE_SALESFORCE__CLIENT_SECRT_FILE: is not a setting; did you mean CADENCE_SALESFORCE__CLIENT_SECRET_FILE?",
        ),
        (
            "CADENCE_HANDLERS__H__UES",
            "log",
            "CADENCE_HANDLERS__H__UES: is not a setting; did you mean CADENCE_HANDLERS__H__USE?",
        ),
        ("CADENCE_STORE", "x", "CADENCE_STORE: is a section; set its keys one by one, as in CADENCE_STORE__URL"),
        ("CADENCE_HTTP__PORT", "http", "http.port: must be a whole number, not 'http' (set by CADENCE_HTTP__PORT)"),
        ("CADENCE_CHANNELS", "[1", "channels: CADENCE_CHANNELS begins like JSON but is not valid JSON: unexpected end of data: line 1 column 3 (char 2)"),
        (
            "CADENCE_SALESFORCE__LOGIN_URL",
            "http://acme.my.salesforce.com",
            ("salesforce.login_url: must begin with https:// (http is allowed for this machine only), not "
            "'http://acme.my.salesforce.com' (set by CADENCE_SALESFORCE__LOGIN_URL)"),
        ),
        (
            "CADENCE_SALESFORCE__LOGIN_URL",
            "acme.my.salesforce.com",
            ("salesforce.login_url: must be a URL such as https://MyDomain.my.salesforce.com, not "
            "'acme.my.salesforce.com' (set by CADENCE_SALESFORCE__LOGIN_URL)"),
        ),
        (
            "CADENCE_SALESFORCE__LOGIN_URL",
            "https://acme.my.salesforce.com/services/oauth2/token",
            ("salesforce.login_url: must be only scheme and host, as in https://MyDomain.my.salesforce.com "
            "(set by CADENCE_SALESFORCE__LOGIN_URL)"),
        ),
        (
            "CADENCE_SALESFORCE__LOGIN_URL",
            "https://login.salesforce.com",
            ('salesforce.login_url: must be the org\'s My Domain for auth = "client_credentials", the default, as in '
            "https://MyDomain.my.salesforce.com: Salesforce refuses this flow on login.salesforce.com"),
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_environment_names_the_variable(name, value, message):
    said = only_problem(environ={name: value})
    assert message in said
    assert len(said) == 1 or "HANDLERS" in name or "CHANNELS" in name


def test_an_unreadable_secret_file_is_named_with_its_path(tmp_path):
    missing = tmp_path / "nowhere"
    assert only_problem(environ={"CADENCE_HTTP__TOKEN_FILE": str(missing)}) == [
        f"http.token: the file {missing} (CADENCE_HTTP__TOKEN_FILE) cannot be read: No such file or directory"
    ]


def test_an_empty_secret_file_is_a_problem(tmp_path, toml):
    (tmp_path / "token").write_text("\n")
    assert only_problem(toml('[http]\ntoken_file = "token"')) == [
        f"http.token: the file {tmp_path / 'token'} (token_file) is empty"
    ]


def test_a_secret_that_is_given_twice_in_one_place_is_a_problem(toml):
    assert only_problem(toml('[http]\ntoken = "a"\ntoken_file = "b"')) == [
        "http.token: is set twice, also by token_file; keep one"
    ]
    assert only_problem(environ={"CADENCE_HTTP__TOKEN": "a", "CADENCE_HTTP__TOKEN_FILE": "b"}) == [
        "http.token: is set twice, by CADENCE_HTTP__TOKEN and CADENCE_HTTP__TOKEN_FILE; keep one"
    ]


def test_a_missing_or_broken_config_file_is_named(tmp_path, toml):
    missing = tmp_path / "none.toml"
    assert only_problem(missing) == [f"--config: {missing} cannot be read: No such file or directory"]
    broken = toml("[store\n")
    (said,) = only_problem(broken)
    assert said.startswith(f"--config: {broken} is not valid TOML: ")


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5_000, "a = " + "[" * 100 + "]" * 100, "[a" + ".a" * 2_000 + "]"]
)
def test_a_config_file_that_is_nested_beyond_reason_is_named(toml, text):
    broken = toml(text)
    assert only_problem(broken) == [
        f"--config: {broken} is nested more than 64 levels deep, deeper than any setting"
    ]


def test_a_number_of_more_digits_than_python_reads_is_no_valid_toml(toml):
    (said,) = only_problem(toml(f"a = {'9' * 5_000}"))
    assert "is not valid TOML: Exceeds the limit" in said


@pytest.mark.parametrize(
    "text",
    ["[http]\nport = 0x{}", "[http]\ntoken_file = 0x{}", "[ordering]\nlateness = 0x{}", "channels = [0x{}]"],
)
def test_a_number_of_more_than_64_bits_is_named_and_not_shown(toml, text):
    (said,) = only_problem(toml(text.format("f" * 9_000)))
    assert said.endswith(": is an integer of more than 64 bits, which TOML does not allow")


def test_what_is_shown_of_a_long_value_is_its_beginning(toml):
    (said,) = only_problem(toml(f"[log]\nlevel = '{'a' * 100_000}'"))
    assert len(said) < 200


def test_a_secret_file_whose_name_is_none_is_named(toml):
    assert only_problem(toml('[http]\ntoken_file = "\\u0000"')) == [
        "http.token: token_file is not the path of a file: embedded null byte"
    ]


def test_a_variable_below_another_ones_value_is_named():
    assert only_problem(
        environ={
            "CADENCE_HANDLERS__A__USE": "jsonl",
            "CADENCE_HANDLERS__A__SETTINGS__PATH": "a",
            "CADENCE_HANDLERS__A__SETTINGS__PATH__B": "b",
        }
    ) == [
        (
            "handlers.a.settings.path.b: CADENCE_HANDLERS__A__SETTINGS__PATH__B sets a key of a table that "
            "CADENCE_HANDLERS__A__SETTINGS__PATH sets as a whole; keep one"
        )
    ]


@pytest.mark.parametrize(
    ("auth", "missing"),
    [
        ("jwt", ["client_id", "username", "private_key"]),
        ("client_credentials", ["client_id", "client_secret"]),
        ("refresh_token", ["client_id", "refresh_token"]),
        ("password", ["client_id", "client_secret", "username", "password"]),
        ("access_token", ["access_token", "instance_url"]),
    ],
)
def test_each_flow_names_every_setting_that_it_lacks(auth, missing):
    environ = {
        "CADENCE_SALESFORCE__AUTH": auth,
        "CADENCE_SALESFORCE__LOGIN_URL": "https://acme.my.salesforce.com",
    }
    with pytest.raises(SettingsError) as caught:
        load_settings(None, environ)
    assert [p.setting for p in caught.value.problems] == [f"salesforce.{key}" for key in missing]


def test_a_missing_secret_says_where_it_can_be_set():
    environ = {k: v for k, v in GOOD.items() if not k.endswith("SECRET")}
    assert problems(environ={**environ, "CADENCE_SALESFORCE__AUTH": "client_credentials"}) == [
        (
            'salesforce.client_secret: is needed for auth = "client_credentials"; '
            "set it, or CADENCE_SALESFORCE__CLIENT_SECRET, or …_FILE"
        )
    ]


def test_all_problems_of_file_environment_and_rules_come_at_once(toml):
    config = toml(
        'chanels = []\n[ordering]\nlateness = "soon"\n[salesforce]\nauth = "jwt"\n[lease]\nrenew = "20s"\n'
    )
    said = problems(
        config, {"CADENCE_STROE__URL": "x", "CADENCE_HTTP__PORT": "http", "CADENCE_HTTP__TOKEN_FILE": "/no"}
    )
    assert [line.partition(":")[0] for line in said] == [
        "http.token",
        "CADENCE_STROE__URL",
        "ordering.lateness",
        "http.port",
        "lease.renew",
        "chanels",
        "salesforce.client_id",
        "salesforce.username",
        "salesforce.private_key",
    ]


def test_a_setting_is_complained_about_once(toml):
    config = toml(
        '[salesforce]\nauth = "jwt"\nclient_id = "c"\nusername = "u"\nprivate_key_file = "/nowhere/key.pem"\n'
    )
    assert problems(config) == [
        "salesforce.private_key: the file /nowhere/key.pem (private_key_file) cannot be read: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0?password=geheim&db=1", "redis://cache:6379/0?password=***&db=1"),
        ("unix:///run/redis.sock?db=0&password=geheim", "unix:///run/redis.sock?db=0&password=***"),
        ("redis://user:geheim@cache:6379/0", "redis://user:***@cache:6379/0"),
        ("rediss://cache/0?ssl_cert_reqs=none", "rediss://cache/0?ssl_cert_reqs=none"),
    ],
)
def test_the_password_of_a_store_is_a_secret_wherever_its_address_has_it(url, shown):
    settings = load_settings(None, {"CADENCE_STORE__URL": url}, connects=False)
    assert settings.store.shown == shown
    assert list(settings.secrets()) == (["geheim"] if "***" in shown else [])
