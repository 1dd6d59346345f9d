"""``python -m tests.model --rounds 100000 --jobs 2``, or ``--seed N --store redis -v`` to replay one and read its story."""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.model.rounds import STORES, chunk

CHUNK = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=(*STORES, "both"), default="both")
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("-v", "--verbose", action="store_true", help="tell the story")
    options = parser.parse_args()
    first, last = options.first, options.first + options.rounds
    if options.seed is not None:
        first, last = options.seed, options.seed + 1
    starts = range(first, last, CHUNK)
    failed = 0
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for store in STORES if options.store == "both" else (options.store,):
            began = time.monotonic()
            total: Counter[str] = Counter()
            ends = [min(start + CHUNK, last) for start in starts]
            for figures, violation in pool.map(partial(chunk, store, options.verbose), starts, ends):
                total.update(figures)
                if violation is not None:
                    failed += 1
                    print(violation, file=sys.stderr)
            took = time.monotonic() - began
            print(f"{store}: {last - first} schedules in {took:.1f} s; {dict(sorted(total.items()))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
