"""One module under the tool: a copy of the project, a run of mutmut there, and what became of each mutant.

mutmut leaves alone what is decorated, since it cannot know what a decorator makes of a copy; so in the copy ``@property`` is written as the
assignment that it stands for. It changes nothing at module level (a constant is a rule: ``tests.mutants`` has those) and no other decorated
function.
"""

import ast
import difflib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from tests.mutation.scope import Scope

__all__ = ["Mutant", "ToolFailed", "Verdict", "difference", "try_out", "without_property_decorators"]

Verdict = Literal["dead", "late", "alive"]
"""``late`` is dead as well, but on a machine so busy that the time was up too early it would have been alive."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
ROOT = Path(__file__).parents[2]
COPIED = ("consumer", "handlers", "tests")
PLAIN = ("pyproject.toml", "README.md")
# A mutant that hangs has to be waited for: five times (what the tests take + 2 s).
SETTINGS = """\
[mutmut]
source_paths = consumer
only_mutate = {module}
also_copy =
    handlers
    README.md
pytest_add_cli_args_test_selection =
    {tests}
pytest_add_cli_args =
    -p
    no:cacheprovider
    --hypothesis-seed=0
    {chosen}
timeout_multiplier = 5
timeout_constant = 2
track_dependencies = false
use_git_change_detection = false
use_setproctitle = false
"""
# pytest ends with 2 when a module could not even be imported, which mutmut takes for Ctrl-C; a crash is noticed as well.
VERDICTS: dict[str, Verdict] = {
    "killed": "dead",
    "segfault": "dead",
    "check was interrupted by user": "dead",
    "timeout": "late",
    "survived": "alive",
    "no tests": "alive",
}


class ToolFailed(Exception):
    """mutmut could not do its work; the end of what it said."""


@dataclass(frozen=True, order=True)
class Mutant:
    """One wrong change.

    Attributes:
        module: the file.
        function: ``function`` or ``Class.method``.
        was: the lines that it takes away, formatted anew, so that neither layout nor place in the file matters.
        now: the lines that stand there instead.
        nth: 1, or more where the same change is made in several places of the function.
    """

    module: str
    function: str
    was: tuple[str, ...]
    now: tuple[str, ...]
    nth: int = 1

    def __str__(self) -> str:
        where = f"  {self.module} {self.function}" + (f" ({self.nth})" if self.nth > 1 else "")
        return "\n".join(
            (where, *(f"    - {line}" for line in self.was), *(f"    + {line}" for line in self.now))
        )


def try_out(scope: Scope, jobs: int) -> dict[Mutant, Verdict]:
    """Every mutant of a module, and what became of it.

    Raises:
        ToolFailed: the tests fail without any mutant, or the tool does.
    """
    with tempfile.TemporaryDirectory(prefix=f"mutation-{scope.name}-") as temporary:
        copy = Path(temporary)
        for name in COPIED:
            shutil.copytree(
                ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules", "kept")
            )
        for name in PLAIN:
            shutil.copy(ROOT / name, copy)
        module = copy / scope.module
        module.write_text(without_property_decorators(module.read_text()))
        chosen = f"-k\n    {scope.chosen}" if scope.chosen else ""
        (copy / "setup.cfg").write_text(
            SETTINGS.format(module=scope.module, tests="\n    ".join(scope.tests), chosen=chosen)
        )
        _mutmut(copy, "run", "--max-children", str(jobs), *_wanted(scope))
        verdicts = dict(
            line.strip().rsplit(": ", 1)
            for line in _mutmut(copy, "results", "--all", "true").splitlines()
            if ": " in line
        )
        return dict(_verdicts(scope, copy / "mutants" / scope.module, verdicts))


def without_property_decorators(source: str) -> str:
    """The same module, with ``name = property(name)`` below each function instead of ``@property`` above it."""
    lines = source.splitlines(keepends=True)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for node in sorted(functions, key=lambda node: node.lineno, reverse=True):
        if [ast.unparse(one) for one in node.decorator_list] == ["property"]:
            assert node.end_lineno is not None
            lines.insert(node.end_lineno, f"\n{' ' * node.col_offset}{node.name} = property({node.name})\n")
            lines[node.decorator_list[0].lineno - 1] = "\n"
    return "".join(lines)


def _wanted(scope: Scope) -> list[str]:
    dotted = scope.module.removesuffix(".py").replace("/", ".")
    wanted = []
    for name in scope.only:
        owner, _, function = name.rpartition(".")
        begin = f"{dotted}.xǁ{owner}ǁ{function}" if owner else f"{dotted}.x_{function}"
        wanted.append(begin if begin.endswith("*") else f"{begin}__mutmut_*")
    return wanted


def _mutmut(folder: Path, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolFailed(
            f"mutmut {arguments[0]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3_000:]}"
        )
    return done.stdout


def _verdicts(scope: Scope, mutated: Path, verdicts: dict[str, str]) -> Iterator[tuple[Mutant, Verdict]]:
    functions = {
        node.name: node for node in ast.walk(ast.parse(mutated.read_text())) if isinstance(node, Function)
    }
    met: Counter[tuple[str, tuple[str, ...], tuple[str, ...]]] = Counter()
    for name, verdict in verdicts.items():
        if scope.only and not any(fnmatch(name, one) for one in _wanted(scope)):
            continue
        if verdict not in VERDICTS:
            raise ToolFailed(f"mutmut says of {name}: {verdict}")
        mangled = name.rpartition(".")[2]
        common = mangled.partition("__mutmut_")[0]
        was, now = difference(functions[f"{common}__mutmut_orig"], functions[mangled])
        function = re.sub(r"^x_|^xǁ", "", common).replace("ǁ", ".")
        met[function, was, now] += 1
        yield Mutant(scope.module, function, was, now, met[function, was, now]), VERDICTS[verdict]


def difference(one: Function, other: Function) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lines that differ, without their indentation."""
    for each in (one, other):
        each.name, each.decorator_list = "function", []
    before, after = (ast.unparse(each).splitlines() for each in (one, other))
    lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    was, now = (tuple(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return was, now
