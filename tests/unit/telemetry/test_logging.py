"""Log lines: one JSON object each, on standard error, without secrets. Real processes, because the configuration is the process's."""

import json
import subprocess
import sys
from urllib.parse import quote

import pytest

from consumer.telemetry.logging import HIDDEN, MAX_LEARNED, Redactor


def lines_of(program, *, stdout=""):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == stdout
    return done.stderr.splitlines()


HEAD = "import structlog, logging\nfrom consumer.telemetry.logging import Redactor, configure_logging\n"


def test_json_lines_go_to_standard_error_with_level_and_time():
    (line,) = lines_of(
        HEAD + "configure_logging('info')\nstructlog.get_logger().info('session_opened', session=3)\n"
    )
    value = json.loads(line)
    assert value.pop("timestamp").endswith("Z")
    assert value == {"event": "session_opened", "session": 3, "level": "info"}
    assert line.startswith('{"timestamp":')


def test_less_severe_lines_are_not_written():
    (line,) = lines_of(
        HEAD
        + "configure_logging('warning', 'json')\nlog = structlog.get_logger()\nlog.info('no')\nlog.warning('yes')\n"
    )
    assert json.loads(line)["event"] == "yes"


def test_libraries_speak_through_the_same_chain_and_only_from_warning_on():
    (line,) = lines_of(
        HEAD + "configure_logging('debug', 'json', Redactor(['tok-1234']))\n"
        "logging.getLogger('asyncio').info('no')\nlogging.getLogger('asyncio').error('leak %s', 'tok-1234')\n"
    )
    value = json.loads(line)
    assert (value["event"], value["logger"], value["level"]) == (f"leak {HIDDEN}", "asyncio", "error")


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_secret_is_in_no_line_not_even_in_a_traceback(style):
    text = "\n".join(
        lines_of(
            HEAD + f"configure_logging('info', {style!r}, Redactor(['tok-1234', 'p@ss wörd']))\n"
            "log = structlog.get_logger()\n"
            "log.info('with tok-1234', headers={'Authorization': 'Bearer tok-1234'}, raw=b'tok-1234', many=['x tok-1234'])\n"
            "try:\n"
            "    password = 'p@ss wörd'\n"
            "    raise ValueError('bad ' + password)\n"
            "except ValueError:\n"
            "    log.exception('failed')\n"
        )
    )
    assert "tok-1234" not in text
    assert "bad p@ss" not in text
    assert text.count(HIDDEN) >= 4
    assert "ValueError" in text


def test_console_lines_are_readable_and_have_no_colours_in_a_pipe():
    (line,) = lines_of(
        HEAD + "configure_logging('info', 'console')\nstructlog.get_logger().info('standby', held_by='a')\n"
    )
    assert "standby" in line
    assert "held_by=a" in line
    assert "\x1b" not in line


def test_configuring_again_replaces_the_earlier_configuration():
    lines = lines_of(
        HEAD
        + "configure_logging('info', 'json')\nconfigure_logging('info', 'json')\nlogging.getLogger('x').warning('once')\n"
    )
    assert len(lines) == 1


def test_a_secret_is_found_in_every_spelling_in_which_it_travels():
    redactor = Redactor(["s3cr&t/+", "-----BEGIN K-----\nAAAABBBB\nCCCC\n-----END K-----"])
    assert redactor.text("form client_secret=" + quote("s3cr&t/+", safe="")) == f"form client_secret={HIDDEN}"
    assert redactor.text("line AAAABBBB of it") == f"line {HIDDEN} of it"
    assert redactor.text("-----BEGIN K-----") == "-----BEGIN K-----"


def test_a_secret_inside_a_longer_one_leaves_nothing_of_the_longer_one():
    assert Redactor(["abcd", "abcdefgh"]).text("x abcdefgh y") == f"x {HIDDEN} y"


def test_very_short_secrets_do_not_garble_every_line():
    assert Redactor(["a"]).text("an apple") == "an apple"


def test_secrets_that_turn_up_later_are_removed_from_then_on():
    redactor = Redactor()
    redactor.add("late-token")
    assert redactor(None, "info", {"event": "x", "late-token": "late-token"}) == {
        "event": "x",
        HIDDEN: HIDDEN,
    }


def test_tokens_that_were_got_while_running_are_forgotten_when_many_newer_ones_have_followed():
    redactor = Redactor(["given-secret"])
    for number in range(MAX_LEARNED + 1):
        redactor.learn(f"token-{number:04d}")
        redactor.learn(f"token-{number:04d}")
    assert redactor.text("token-0000 token-0001 given-secret") == "token-0000 [secret] [secret]"
    assert redactor.text(f"token-{MAX_LEARNED:04d}") == "[secret]"
