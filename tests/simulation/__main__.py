"""``python -m tests.simulation --seeds 100000 --jobs 2``, or ``--seed N -v`` to replay one and read its schedule."""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.rounds import chunk, story_of

CHUNK = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="S", help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--digest", action="store_true", help="with --seed: nothing but a digest of its schedule"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print the schedule")
    options = parser.parse_args()
    if options.seed is not None and options.digest:
        print(story_of(options.seed)[1])
        return 0
    first, last = options.first, options.first + options.seeds
    if options.seed is not None:
        first, last = options.seed, options.seed + 1
    starts = range(first, last, CHUNK)
    ends = [min(start + CHUNK, last) for start in starts]
    failed = 0
    total: Counter[str] = Counter()
    began, cpu = time.monotonic(), time.process_time()
    if options.jobs == 1:
        answers = map(partial(chunk, options.verbose), starts, ends)
        failed = _add_up(answers, total)
    else:
        with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            failed = _add_up(pool.map(partial(chunk, options.verbose), starts, ends), total)
    took = time.monotonic() - began
    own = (
        f", {(time.process_time() - cpu) * 1_000 / (last - first):.1f} ms of a core each"
        if options.jobs == 1
        else ""
    )
    print(f"{last - first} seeds in {took:.1f} s, {(last - first) / took:.1f} a second{own}")
    print(dict(sorted(total.items())))
    return 1 if failed else 0


def _add_up(answers, total: Counter[str]) -> int:
    failed = 0
    for figures, violation in answers:
        total.update(figures)
        if violation is not None:
            failed += 1
            print(violation, file=sys.stderr, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
