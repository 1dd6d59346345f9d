"""One target under atheris, in a process of its own: ``python -m tests.fuzzing.child TARGET`` and libFuzzer's own options."""

import shlex
import sys

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["consumer", "handlers"]):
    from tests.fuzzing.targets import TARGETS

from tests.fuzzing.mutator import mutated


def main() -> None:
    target = sys.argv.pop(1)
    check = TARGETS[target]
    # Merging begins further processes by this name, through a shell.
    sys.argv[0] = shlex.join((sys.executable, "-m", "tests.fuzzing.child", target))

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return mutated(data, seed, most, atheris.Mutate)

    atheris.Setup(sys.argv, check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
