"""The command line as people meet it: help, exit codes, problems; as real processes where the process matters."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main

from consumer.cli import app
from consumer.cli.error_reporting import exit_code
from consumer.errors import (
    AuthenticationFailed,
    CommitRefused,
    SettingsError,
    StopService,
    StoreForeign,
    StoreUnavailable,
)
from consumer.process import ExitCode
from tests.support.processes.interruptible import interruptible

GOOD = {
    "CADENCE_SALESFORCE__LOGIN_URL": "https://acme.my.salesforce.com",
    "CADENCE_SALESFORCE__CLIENT_ID": "3MVG9",
    "CADENCE_SALESFORCE__CLIENT_SECRET": "hush-hush",
}


def test_help_imports_nothing_slow():
    program = (
        "import sys\nfrom consumer.cli import main\nsys.argv = ['x', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'aiohttp', 'redis', 'structlog', 'prometheus_client', 'sqlite3', 'cryptography'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == "[]\n"


def commands(command=None, path=()):
    """Every command with the words that call it."""
    command = command or typer.main.get_command(app)
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*path, name))
    if not hasattr(command, "commands"):
        yield path, command


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*each, id=" ".join(each[0])) for each in commands()]
)
def test_every_command_explains_itself_and_its_options_with_an_example_that_is_one(call, path, command):
    result = call(*path, "--help")
    assert result.exit_code == 0
    assert "Example: cadence-consumer " + " ".join(path) in " ".join(result.stdout.split())
    assert [each.name for each in command.params if not each.help] == []
    (example,) = re.findall(r"Example: cadence-consumer (.*)", " ".join(command.help.split()))
    words = shlex.split(re.split(r" (?:\||>|&&) ", example)[0])[len(path) :]
    # What people copy has to be understood: every option of it exists, every value is one.
    command.make_context(path[-1], words)


def test_there_are_all_the_commands_of_the_documentation():
    assert len(list(commands())) >= 39


def test_the_shell_completes_commands_and_values():
    script = Path(sys.executable).with_name("cadence-consumer")
    # Named, and not found out by looking at the parents of this process, which need not be shells.
    named = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(
        [script, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=named,
    ).stdout

    def completed(*words):
        program = (
            f"{shown}\nCOMP_WORDS=(cadence-consumer {' '.join(words)}); COMP_CWORD={len(words)}\n"
            f'_cadence_consumer_completion {shlex.quote(str(script))}; printf "%s\\n" "${{COMPREPLY[@]}}"'
        )
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split()

    assert completed("ta") == ["tail"]
    assert {"show", "schema"} == set(completed("config", '""'))
    assert completed("tail", "--type", "run.ended.c") == ["run.ended.converted", "run.ended.chained"]
    assert completed("tail", "--origin", "s") == ["stream", "snapshot"]


def test_the_version_is_that_of_the_package(call):
    assert call("--version").stdout == f"cadence-consumer {version('cadence-consumer')}\n"


def test_no_arguments_is_help_and_an_unknown_command_a_usage_error(process):
    assert "Usage:" in process().stdout + process().stderr
    assert process("frobnicate").returncode == 2


def test_settings_problems_are_one_line_each_on_standard_error_and_exit_2_without_traceback(process):
    for command in ("run", "check"):
        done = process(command, CADENCE_STROE__URL="x", CADENCE_HTTP__PORT="http", **GOOD)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.splitlines() == [
            "CADENCE_STROE__URL: is not a setting; did you mean CADENCE_STORE__URL?",
            "http.port: must be a whole number, not 'http' (set by CADENCE_HTTP__PORT)",
        ]


def test_check_reports_settings_and_handlers_in_one_attempt(process):
    done = process(
        "check",
        CADENCE_SALESFORCE__AUTH="access_token",
        CADENCE_HANDLERS__CRM__USE="lgo",
        CADENCE_HANDLERS__LOUD__USE="log",
        CADENCE_HANDLERS__LOUD__ON="run.endd.*",
    )
    assert done.returncode == 2
    said = done.stderr.splitlines()
    assert said[:2] == [
        'salesforce.access_token: is needed for auth = "access_token"; set it, or CADENCE_SALESFORCE__ACCESS_TOKEN, or …_FILE',
        'salesforce.instance_url: is needed for auth = "access_token"; set it, or CADENCE_SALESFORCE__INSTANCE_URL',
    ]
    assert said[2] == (
        "handlers.crm.use: no handler is called 'lgo'; did you mean 'log'? There are: jsonl, kafka, log, postgres, redis_stream, remove_bounced, webhook. "
        "Your own: 'module:attribute'"
    )
    assert (
        said[3] == "handlers.loud.on: pattern 'run.endd.*' selects no event type; did you mean 'run.ended.*'?"
    )
    assert len(said) == 4


def test_a_mistake_elsewhere_hides_no_handlers_mistakes(process, tmp_path):
    config = tmp_path / "cadence.toml"
    config.write_text(
        '[leese]\nttl = "5s"\n[handlers.one]\nuse = "jsnol"\n'
        '[handlers.two]\nuse = "log"\nconcurency = 3\n[handlers.three]\nuse = "jsonl"\n'
    )
    done = process("check", CADENCE_CONFIG=str(config), **GOOD)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "handlers.two.concurency",
        "leese",
        "handlers.one.use",
        "handlers.three.settings.path",
    ]


def test_a_file_that_cannot_be_read_is_all_that_is_told(process, tmp_path):
    missing, broken = tmp_path / "none.toml", tmp_path / "broken.toml"
    broken.write_text("[salesforce]\nclient_id = secret\n")
    for command in ("check", "run"):
        assert process(command, CADENCE_CONFIG=str(missing)).stderr.splitlines() == [
            f"--config: {missing} cannot be read: No such file or directory"
        ]
        (line,) = process(command, CADENCE_CONFIG=str(broken)).stderr.splitlines()
        assert line.startswith(f"--config: {broken} is not valid TOML: ")


def test_check_says_what_would_run_and_never_a_secret(process):
    done = process("check", CADENCE_HANDLERS__CRM__USE="log", CADENCE_HANDLERS__CRM__ON="run.ended.*", **GOOD)
    assert done.returncode == 0
    assert done.stderr == "settings are valid\n"
    out = " ".join(done.stdout.split())
    for part in (
        "https://acme.my.salesforce.com with client_credentials, API 66.0",
        "channel /data/ActionCadenceTrackerChangeEvent",
        "store sqlite:///cadence.db",
        "handler crm: log, 6 event types",
    ):
        assert part in out
    assert "hush-hush" not in done.stdout + done.stderr


def test_check_as_json_names_the_default_handler_when_none_is_configured(process):
    done = process("check", "--json", **GOOD)
    value = json.loads(done.stdout)
    assert [handler["name"] for handler in value["handlers"]] == ["log"]
    assert value["salesforce"]["auth"] == "client_credentials"


def test_check_notices_that_the_folder_of_the_store_is_missing(process, tmp_path):
    done = process("check", CADENCE_STORE__URL=f"sqlite:///{tmp_path}/none/c.db", **GOOD)
    assert (done.returncode, done.stderr) == (
        2,
        f"store.url: the directory {tmp_path}/none does not exist; create it, or set another path\n",
    )


def test_the_config_file_may_come_from_the_environment(process, tmp_path):
    config = tmp_path / "cadence.toml"
    config.write_text('[log]\nlevel = "loud"\n')
    done = process("check", CADENCE_CONFIG=str(config), **GOOD)
    assert done.returncode == 2
    assert done.stderr == "log.level: must be one of debug, info, warning, error, not 'loud'\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError([]), 2),
        (StopService("permission_denied", "No.", "Ask.", permission=True), 77),
        (StopService("halt", "No.", "Ask."), 69),
        (AuthenticationFailed("invalid_grant", "x", permanent=True), 77),
        (AuthenticationFailed("unreachable", "x", permanent=False), 69),
        (StoreUnavailable("sqlite:///x", "gone"), 69),
        (StoreForeign("another org"), 1),
        (CommitRefused(3, None), 1),
    ],
)
def test_every_fault_has_the_documented_exit_code(error, code):
    assert exit_code(error) == ExitCode(code)


def test_a_service_that_cannot_listen_exits_as_unavailable_and_says_where(process, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = process(
            "run", CADENCE_HTTP__PORT=str(port), CADENCE_STORE__URL=f"sqlite:///{tmp_path}/c.db", **GOOD
        )
    assert done.returncode == 69
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["port"]) == ("http_unavailable", port)
    assert "http.port" in line["action"]


# ---------------------------------------------------------------- processes that run until told to stop


def start(*arguments, **environ):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CADENCE_")}
    with interruptible():
        return subprocess.Popen(
            [sys.executable, "-m", "consumer", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**clean, "NO_COLOR": "1", **environ},
        )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_sandbox_prints_settings_that_connect_to_it_and_ends_on_a_signal(process, tmp_path, number):
    with start("sandbox", "--port", "0", "--rate", "0") as running:
        try:
            assert running.stdout is not None
            toml = "".join(running.stdout.readline() for _ in range(5))
            section = tomllib.loads(toml)["salesforce"]
            assert section["auth"] == "client_credentials"
            with urllib.request.urlopen(f"{section['login_url']}/sandbox/status", timeout=10) as answer:
                assert answer.status == 200
            config = tmp_path / "sandbox.toml"
            config.write_text(toml)
            assert process("check", "--config", str(config)).returncode == 0
            running.send_signal(number)
            _, words = running.communicate(timeout=20)
        finally:
            running.kill()
    assert running.returncode == 0
    assert words.endswith("simulated org stopped\n")


def test_a_taken_port_is_unavailable_with_a_sentence(process):
    with start("sandbox", "--port", "0", "--rate", "0") as running:
        try:
            assert running.stdout is not None
            toml = "".join(running.stdout.readline() for _ in range(5))
            port = tomllib.loads(toml)["salesforce"]["login_url"].rpartition(":")[2]
            done = process("sandbox", "--port", port)
            assert done.returncode == 69
            assert done.stderr.startswith(f"cannot listen on localhost:{port}: ")
        finally:
            running.terminate()
            running.communicate(timeout=20)


def test_an_interrupted_tail_has_not_failed(store_file):
    with start("tail", "--earliest", "--json", CADENCE_STORE__URL=f"sqlite:///{store_file}") as running:
        try:
            assert running.stdout is not None
            assert [json.loads(running.stdout.readline())["id"] for _ in range(5)] == [
                f"event-{number}" for number in range(1, 6)
            ]
            running.send_signal(signal.SIGINT)
            rest, words = running.communicate(timeout=20)
        finally:
            running.kill()
    assert (running.returncode, rest, words) == (0, "", "")
