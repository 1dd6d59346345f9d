"""``python -m tests.model --rounds 100000`` or ``--seed N --store redis`` to replay one."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from consumer.ingest import committer, pipeline
from tests.model.schedule import run_schedule
from tests.model.stores import RedisStores, SqliteStores
from tests.redis_server import RedisServer


async def play(stores, seeds) -> Counter[str]:
    """Every seed; what happened, added up. The seed of a violation is printed."""
    committer._FIRST_RETRY_MS = committer._LONGEST_RETRY_MS = pipeline._LOAD_AGAIN_MS = 0
    total: Counter[str] = Counter()
    for seed in seeds:
        try:
            total.update(await run_schedule(seed, stores))
        except BaseException:
            print(f"seed {seed} on {type(stores).__name__}", file=sys.stderr)
            raise
    return total


def memory_folder() -> Path | None:
    return Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "redis", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    seeds = (
        [options.seed] if options.seed is not None else range(options.first, options.first + options.rounds)
    )
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        if options.store in ("sqlite", "both"):
            began = time.monotonic()
            print(
                "sqlite",
                dict(asyncio.run(play(SqliteStores(Path(folder)), seeds))),
                f"{time.monotonic() - began:.1f} s",
            )
        if options.store in ("redis", "both"):
            server = RedisServer(Path(folder) / "redis")
            server.start()

            async def on_redis() -> Counter[str]:
                stores = RedisStores(server.url)
                try:
                    return await play(stores, seeds)
                finally:
                    await stores.aclose()

            try:
                began = time.monotonic()
                print("redis", dict(asyncio.run(on_redis())), f"{time.monotonic() - began:.1f} s")
            finally:
                server.stop()


if __name__ == "__main__":
    main()
