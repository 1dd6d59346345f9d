"""What the Dockerfile promises, checked without a container engine.

Its instructions are read; what can be executed is: the health check against a server that is well, ill and absent, and the command under
the image's environment. ``make image-check`` builds it and runs what was built.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.builders.readme import OPERATION, blocks
from tests.support.processes.own_venv import make_venv, run

ROOT = Path(__file__).resolve().parents[2]
ORG = {
    "CADENCE_SALESFORCE__LOGIN_URL": "https://acme.my.salesforce.com",
    "CADENCE_SALESFORCE__CLIENT_ID": "3MVG9",
    "CADENCE_SALESFORCE__CLIENT_SECRET": "hush-hush",
}


def instructions():
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def stages():
    found = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


def last(name):
    return [rest for word, rest in stages()[-1] if word == name][-1]


def image_environment():
    pairs = [pair.split("=", 1) for word, rest in stages()[-1] if word == "ENV" for pair in rest.split()]
    return {name: value for name, value in pairs if name != "PATH"}


def health_check(port):
    command = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python"
    # A proxy must not be asked for what is in the same container.
    environ = {"CADENCE_HTTP__PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, *command[1:]], env=environ, capture_output=True, timeout=30, check=False
    ).returncode


@contextmanager
def answering(status):
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


def check(folder, **more):
    environ = {**image_environment(), **ORG, **more, "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-m", "consumer", "check"],
        env=environ, cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_two_stages_and_the_second_neither_builds_nor_sees_the_sources():
    build, final = stages()
    assert any("--require-hashes -r requirements.lock" in rest for _, rest in build)
    assert [rest for name, rest in final if name == "COPY"] == ["--from=build /opt/cadence /opt/cadence"]
    assert not [rest for name, rest in final if name == "RUN"]


def test_both_stages_are_of_the_same_base_which_can_be_another():
    assert instructions()[0][0] == "ARG"
    name, _, default = instructions()[0][1].partition("=")
    assert default.startswith("python:3.11")
    assert [rest.split()[0] for name, rest in instructions() if name == "FROM"] == [f"${{{name}}}"] * 2


def test_not_root_by_number_and_the_service_is_process_one():
    assert int(last("USER").split(":")[0]) > 0
    assert json.loads(last("ENTRYPOINT")) == ["cadence-consumer"]
    assert json.loads(last("CMD")) == ["run"]


def test_everything_copied_exists_and_is_let_through():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    copied = [source for name, rest in stages()[0] if name == "COPY" for source in rest.split()[:-1]]
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied)
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_says_what_healthz_says(status, code):
    with answering(status) as (port, asked):
        assert health_check(port) == code
    assert asked == ["/healthz"]


def test_the_health_check_fails_where_nobody_listens():
    with answering(200) as (port, _):
        pass
    assert health_check(port) == 1


def test_the_image_refuses_to_start_without_a_store(tmp_path):
    refused = check(tmp_path)
    assert refused.returncode == 2
    assert "store.url" in refused.stderr
    assert "is needed in a container" in " ".join(refused.stderr.split())


def test_the_image_takes_a_store_that_is_named(tmp_path):
    accepted = check(tmp_path, CADENCE_STORE__URL="redis://cache:6379/0")
    assert accepted.returncode == 0, accepted.stderr


PLUGIN = """
from consumer import Context, LifecycleEvent, handler


@handler(on="run.*")
async def tell(event: LifecycleEvent, ctx: Context) -> None: ...
"""
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "mine"
version = "1.0"

[project.entry-points."cadence_consumer.handlers"]
mine = "mine:tell"
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """What the image has at /opt/cadence, made by the Dockerfile's own line for /plugins, both in a folder."""
    folder = tmp_path_factory.mktemp("image")
    make_venv(folder / "opt" / "cadence")
    (line,) = [rest for name, rest in stages()[0] if name == "RUN" and "/plugins" in rest]
    assert run(in_folder(line, folder), folder).returncode == 0
    (folder / "mine").mkdir()
    (folder / "mine" / "mine.py").write_text(PLUGIN)
    (folder / "mine" / "pyproject.toml").write_text(PYPROJECT)
    return folder


def in_folder(line, folder):
    """A command of the image, with the image's root in a folder."""
    return re.sub(r"(?<![\w/)])/(opt|plugins|tmp)\b", rf"{folder}/\1", line)


def uses(image, use, **more):
    environ = {
        **image_environment(),
        **ORG,
        "CADENCE_STORE__URL": "redis://cache:6379/0",
        "CADENCE_HANDLERS__MINE__USE": use,
        **more,
    }
    return run(in_folder("/opt/cadence/bin/cadence-consumer check", image), image / "opt", **environ)


def test_a_module_in_plugins_is_a_handler_and_without_the_folder_the_image_starts_all_the_same(image):
    (image / "plugins").mkdir(exist_ok=True)
    (image / "plugins" / "loose.py").write_text(PLUGIN)
    found = uses(image, "loose:tell")
    assert found.returncode == 0, found.stderr
    assert "mine: loose:tell" in found.stdout
    (image / "plugins").rename(image / "away")
    try:
        assert uses(image, "log").returncode == 0
        assert uses(image, "loose:tell").returncode == 2
    finally:
        (image / "away").rename(image / "plugins")


def test_a_package_installed_into_plugins_is_found_by_its_name(image):
    done = run("opt/cadence/bin/pip install --no-deps --target plugins ./mine", image)
    assert done.returncode == 0, done.stderr
    found = uses(image, "mine")
    assert found.returncode == 0, found.stderr
    assert "mine: mine" in found.stdout


def test_nothing_in_plugins_hides_what_the_image_has(image):
    (image / "plugins").mkdir(exist_ok=True)
    hiding = [image / "plugins" / f"{name}.py" for name in ("pydantic", "orjson", "consumer", "handlers")]
    for one in hiding:
        one.write_text("raise SystemExit('a plugin came first')")
    try:
        assert uses(image, "jsonl", CADENCE_HANDLERS__MINE__SETTINGS__PATH="x").returncode == 0
    finally:
        for one in hiding:
            one.unlink()


def test_the_recipe_of_the_page_installs_into_the_image_and_ends_as_its_user(image):
    (recipe,) = [text.removeprefix("# Dockerfile\n") for text in blocks(OPERATION, "dockerfile")]
    lines = [tuple(line.split(None, 1)) for line in recipe.splitlines()]
    assert [name for name, _ in lines] == ["FROM", "USER", "COPY", "RUN", "USER"]
    assert lines[-1] == ("USER", last("USER"))
    source, target = lines[2][1].split()
    location = Path(in_folder(target, image))
    location.parent.mkdir(exist_ok=True)
    assert source == "cadence-chat"
    (image / "mine").rename(location)
    done = run(in_folder(lines[3][1], image), image)
    location.rename(image / "mine")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(image / "plugins", ignore_errors=True)
    assert uses(image, "mine").returncode == 0
