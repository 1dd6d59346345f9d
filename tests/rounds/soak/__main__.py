"""See the package: ``python -m tests.rounds.soak --minutes 60 --rate 500 --store redis`` (``make soak``).

A line a minute, and at the end the rate, the slope of the memory and the verdict of the checksum. Ends with 1 when something was lost, came
twice or out of order, or when memory grows by 1 MB an hour or more (from 20 minutes on).
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.rounds.soak.soaking import SoakOptions, soak


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="how long; default 60")
    parser.add_argument("--rate", type=float, default=500, help="change events a second; default 500")
    parser.add_argument("--store", choices=("redis", "sqlite"), default="redis", help="default redis")
    parser.add_argument(
        "--folder", type=Path, help="keep data and logs here; default: a temporary one, removed"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = (wanted.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(
            soak(
                folder,
                wanted.store,
                wanted.minutes * 60,
                SoakOptions(rate=wanted.rate),
                lambda line: print(line, flush=True),
            )
        )
    print(outcome)
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main())
