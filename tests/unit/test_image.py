"""What the Dockerfile promises, checked without a container engine.

Its instructions are read; what can be executed is: the health check against a server that is well, ill and absent, and the command under
the image's environment. That the base image can be pulled and the layers build is not shown here.
"""

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

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
