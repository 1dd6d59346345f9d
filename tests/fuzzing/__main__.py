"""Gives each target its minutes under the fuzzer: ``python -m tests.fuzzing --minutes 2`` (``make fuzz``).

    python -m tests.fuzzing --only event --minutes 30
    python -m tests.fuzzing --keep

An input that breaks a promise is printed as a line for ``tests/fuzzing/found.py``, with the traceback, and the command ends with 1. With
``--keep`` the inputs that take branches which no kept one takes join ``tests/fuzzing/corpus``, where the next run, and the suite, begin.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzzing.corpus import known, remember
from tests.fuzzing.targets import TARGETS

LONGEST = 20_000
"""Bytes of an input; larger ones are in ``tests.fuzzing.large``."""
HANG_S = 10
MEMORY_MB = 1_500


@dataclass(frozen=True)
class Outcome:
    """Of one target.

    Attributes:
        target: its name.
        runs: how many inputs were tried.
        branches: edges of our code that were taken.
        kept: inputs that each take something new.
        broken: the inputs that broke a promise.
        words: the end of what the fuzzer said, where there are such.
    """

    target: str
    runs: int
    branches: int
    kept: tuple[bytes, ...]
    broken: tuple[bytes, ...]
    words: str

    def __str__(self) -> str:
        verdict = "BROKEN" if self.broken or self.words else "fine"
        return f"{verdict:<7} {self.target:<12} {self.runs:>9} inputs, {self.branches:>5} branches, {len(self.kept):>4} that differ"


def fuzz(target: str, seconds: int, seed: int) -> Outcome:
    """One target for so many seconds, or until it breaks."""
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{target}-") as temporary:
        folder = Path(temporary)
        begin, grown, broken = (folder / name for name in ("begin", "grown", "broken"))
        for one in (begin, grown, broken):
            one.mkdir()
        for number, data in enumerate(known(target)):
            (begin / f"{number:05}").write_bytes(data)
        done = _child(
            target,
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-artifact_prefix={broken}/",
            "-print_final_stats=1",
            str(grown),
            str(begin),
        )
        kept = [begin] if done.returncode else [grown]
        if not done.returncode:
            least = folder / "least"
            least.mkdir()
            _child(target, "-merge=1", str(least), str(begin), str(grown))
            kept = [least]
        runs = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
        branches = re.findall(r"cov: (\d+)", done.stderr)
        return Outcome(
            target,
            int(runs[-1]) if runs else 0,
            int(branches[-1]) if branches else 0,
            tuple(path.read_bytes() for one in kept for path in sorted(one.iterdir())),
            tuple(path.read_bytes() for path in sorted(broken.iterdir())),
            _traceback(done.stdout + done.stderr) if done.returncode else "",
        )


def _child(target: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzzing.child", target, f"-max_len={LONGEST}", *options]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _traceback(words: str) -> str:
    words = "".join(
        line for line in words.splitlines(keepends=True) if not line.startswith(("INFO:", "WARNING:"))
    )
    begins = words.find("Uncaught Python exception")
    return words[begins : begins + 4_000] if begins >= 0 else words[-3_000:]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=2, help="for each target; default 2")
    parser.add_argument("--only", choices=sorted(TARGETS), nargs="+", help="these targets; default all")
    parser.add_argument("--seed", type=int, default=1, help="of every random choice; default 1")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time; default 2")
    parser.add_argument("--keep", action="store_true", help="let the suite begin where this run ended")
    wanted = parser.parse_args()
    broken = 0
    with ThreadPoolExecutor(wanted.jobs) as pool:
        seconds = max(1, round(wanted.minutes * 60))
        for outcome in pool.map(lambda one: fuzz(one, seconds, wanted.seed), wanted.only or TARGETS):
            print(outcome, flush=True)
            if outcome.words:
                broken += 1
                print(outcome.words, file=sys.stderr)
                for data in outcome.broken:
                    print(f'    Found("{outcome.target}", "what is wrong", {data!r}),', file=sys.stderr)
            elif wanted.keep:
                remember(outcome.target, outcome.kept)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
