"""No secret is in anything that the suite's processes and tests write.

Every simulated org makes its own passwords, secrets, keys and tokens. They are noted when they are made, and when a test process is through
with its tests, all files that processes wrote as output, and all that tests captured, are searched for them. A leak anywhere fails the suite.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer.sandbox.oauth import Credentials

OUTPUTS = ("out-*.txt", "err-*.txt", "*.log", "*.jsonl", "*.ndjson")
TOKENS = re.compile(r"!AQ[\w.]{20}|5Aep861[\w.]{20}")
"""Access and refresh tokens, as the simulated org makes them."""


class Witness:
    """What must not be told, and what was."""

    def __init__(self) -> None:
        self.credentials: list[Credentials] = []
        self.captured: list[tuple[str, str]] = []
        self.searched = 0

    def secrets(self) -> set[str]:
        """Every secret of every org so far; of keys, the lines that are secret."""
        known: set[str] = set()
        for one in self.credentials:
            known |= {one.password, one.client_secret, one.refresh_token}
            if "private_key" in vars(one):
                known |= {line for line in one.private_key.splitlines() if not line.startswith("-----")}
        return {secret for secret in known if len(secret) > 8}

    def leaks(self, folder: Path) -> list[str]:
        """Where a secret was found, in output below ``folder`` or captured from tests."""
        texts = [(str(path), path.read_text(errors="replace")) for path in _outputs(folder)]
        self.searched = len(texts)
        known = self.secrets()
        found = []
        for where, text in (*texts, *self.captured):
            if TOKENS.search(text) is not None or any(secret in text for secret in known):
                found.append(where)
        return found


def _outputs(folder: Path) -> Iterator[Path]:
    for pattern in OUTPUTS:
        yield from (path for path in folder.rglob(pattern) if path.is_file())


@contextmanager
def witnessed() -> Iterator[Witness]:
    """Note every org's credentials from here on."""
    witness = Witness()
    make = Credentials.__init__

    def noting(self: Credentials, **about: object) -> None:
        make(self, **about)  # type: ignore[arg-type]
        witness.credentials.append(self)

    Credentials.__init__ = noting  # type: ignore[method-assign, assignment]
    try:
        yield witness
    finally:
        Credentials.__init__ = make  # type: ignore[method-assign]
