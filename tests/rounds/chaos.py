"""Long rounds of chaos on a real Redis.

    python -m tests.rounds.chaos --rounds 100 --scenario service
    python -m tests.rounds.chaos --rounds 30 --scenario redis --seed 7

Prints what each scenario measured; ends with 1 at the first thing that is not as promised.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.rounds.chaos_scenarios import SCENARIOS, deployed


async def run(name: str, rounds: int, seed: int, folder: Path) -> None:
    began = time.monotonic()
    async with deployed(folder, seed) as deployment:
        figures = await SCENARIOS[name](deployment, rounds)
    print(f"{name} (seed {seed}), {time.monotonic() - began:.0f} s: {figures}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="of each scenario; default 30")
    parser.add_argument(
        "--scenario",
        choices=[*SCENARIOS, "all"],
        default="all",
        help="which one; default all, one after the other",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of the org and of every random choice; default 1"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep data and logs here; default: a temporary one, removed"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        for name in SCENARIOS if wanted.scenario == "all" else (wanted.scenario,):
            folder = (wanted.folder or Path(temporary)) / name
            folder.mkdir(parents=True)
            asyncio.run(run(name, wanted.rounds, wanted.seed, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
