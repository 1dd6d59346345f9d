"""The search for secrets in the suite's own output would find one."""

import pytest

from consumer.sandbox import Sandbox, SandboxOptions
from tests.support.processes.secrets_kept import witnessed


@pytest.mark.parametrize("name", ["password", "client_secret", "refresh_token", "private_key"])
def test_a_secret_in_a_process_output_is_found(tmp_path, name):
    with witnessed() as witness:
        sandbox = Sandbox(SandboxOptions(seed=91))
        secret = getattr(sandbox.credentials, name)
        (tmp_path / "err-1.txt").write_text("nothing to see")
        assert witness.leaks(tmp_path) == []
        (tmp_path / "err-1.txt").write_text(f"signing in with {secret.splitlines()[-2:][0]}")
        assert witness.leaks(tmp_path) == [str(tmp_path / "err-1.txt")]
    (tmp_path / "err-1.txt").unlink()  # or the search of the whole suite finds it too


async def test_an_access_token_is_found_in_what_a_test_captured(tmp_path):
    with witnessed() as witness:
        async with Sandbox() as sandbox:
            witness.captured.append(("a test: stdout", f"Authorization: Bearer {sandbox.access_token()}"))
        assert witness.leaks(tmp_path) == ["a test: stdout"]
