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


HOSTILE = """
class Silent(Exception):
    def __str__(self):
        raise SystemExit(3)
    __repr__ = __str__


class Awkward:
    def __str__(self):
        raise KeyboardInterrupt
    __repr__ = __str__


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


loop = []
loop.append(loop)
deep = []
for _ in range(100_000):
    deep = [deep]
"""


LOGGED = (
    "error='bad \\ud83d tok-1234'",
    "exc_info=raised(ValueError('bad \\ud83d tok-1234'))",
    "exc_info=raised(Silent())",
    "exc_info=raised(BaseExceptionGroup('bad \\ud83d', [Silent(), SystemExit(2)]))",
    "exc_info=raised(ValueError('tok-1234' * 1_000_000))",
    "exc_info='no exception'",
    "value=Awkward()",
    "value=[Awkward()]",
    "value=loop",
    "value=deep",
    "value={Awkward(): 1}",
    "value=2**70",
    "value=float('nan')",
    "value=b'\\xff'",
    "**{'bad \\ud83d': 1}",
)


@pytest.mark.parametrize("redactor", ["None", "Redactor(['tok-1234'])"])
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_line_is_made_of_everything_and_whoever_logs_gets_no_exception(style, redactor):
    text = "\n".join(
        lines_of(
            HEAD
            + HOSTILE
            + f"configure_logging('info', {style!r}, {redactor})\nlog = structlog.get_logger()\n"
            + "".join(f"log.info('happened', number={n}, {logged})\n" for n, logged in enumerate(LOGGED))
            + "log.info('next')\n"
        )
    )
    assert text.count("happened") == len(LOGGED), text
    assert "next" in text.splitlines()[-1]
    assert len(text) < 200_000
    if redactor != "None":
        assert "tok-1234" not in text
    if style == "json":
        *values, _ = map(json.loads, text.splitlines())
        assert [(value["event"], value["level"], value["number"]) for value in values] == [
            ("happened", "info", number) for number in range(len(LOGGED))
        ]
        for value, logged in zip(values, LOGGED, strict=True):
            if "ud83d" in logged:
                assert "\\ud83d" in str(list(value.items()))


def test_a_library_that_logs_what_cannot_be_formatted_gets_a_line():
    lines = lines_of(
        HEAD + HOSTILE + "configure_logging('info', 'json')\n"
        "log = logging.getLogger('library')\n"
        "log.error('%d', 'no number')\nlog.error('%s', Awkward())\nlog.error('bad \\ud83d')\nlog.error(Awkward())\n"
    )
    assert [json.loads(line)["level"] for line in lines] == ["error"] * 4
    assert json.loads(lines[0])["event"].startswith("%d")


@pytest.mark.parametrize(
    "damage",
    ["sys.stderr.close()", "sys.stderr = None", "import os; os.close(2)"],
)
def test_standard_error_that_cannot_be_written_to_costs_the_line_and_nothing_else(damage):
    assert not lines_of(
        "import sys\n" + HEAD + f"configure_logging('info', 'json')\nlog = structlog.get_logger()\n{damage}\n"
        "log.info('lost')\nlogging.getLogger('library').error('lost')\nprint('alive')\n",
        stdout="alive\n",
    )
