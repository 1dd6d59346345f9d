"""Many seeds, one after the other."""

import gc
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.simulation.play import memory_folder, play

_COLLECT_EVERY = 25


@contextmanager
def seldom_collecting() -> Iterator[Callable[[], object]]:
    """Dead processes are cycles by the thousand; they are looked for between seeds, not all the time."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.enable()
        gc.unfreeze()
        gc.collect()


def play_all(seeds: Iterable[int], trace: Callable[[str], None] | None = None) -> Counter[str]:
    """Play seeds; how often what happened in all of them.

    Raises:
        Exception: whatever the first failing seed raised, with how to see it again.
    """
    total: Counter[str] = Counter()
    with memory_folder() as folder, seldom_collecting() as collect:
        for count, seed in enumerate(seeds, 1):
            try:
                total += play(seed, Path(folder), trace)
            except Exception as error:
                error.add_note(f"python -m tests.simulation --seed {seed} -v")
                raise
            if count % _COLLECT_EVERY == 0:
                collect()
    return total


def story_of(seed: int) -> tuple[list[str], str]:
    """What a seed tells, whether it holds or not, and a digest of it."""
    story: list[str] = []
    with memory_folder() as folder:
        try:
            play(seed, Path(folder), story.append)
        except Exception as error:  # noqa: BLE001 - how it ends is part of the story
            story.append(f"{type(error).__name__}: {error}")
    return story, hashlib.sha256("\n".join(story).encode()).hexdigest()


def chunk(verbose: bool, first: int, last: int) -> tuple[Counter[str], str | None]:
    """Seeds from ``first`` to before ``last``; what happened, and the first violation."""
    try:
        return play_all(range(first, last), print if verbose else None), None
    except Exception as error:  # noqa: BLE001 - whatever it is, its seed is wanted
        return Counter(), f"{type(error).__name__}: {error}\n" + "\n".join(error.__notes__)
