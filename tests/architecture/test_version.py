"""Versions: of the package, and of the releases in the changelog."""

import re
import tomllib
from pathlib import Path

import consumer

ROOT = Path(__file__).parents[2]
HEADINGS = ["Added", "Changed", "Fixed", "Performance"]


def sections(level: str, text: str) -> dict[str, str]:
    _, *parts = re.split(rf"^{level} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


RELEASES = sections("##", (ROOT / "CHANGELOG.md").read_text())


def test_the_version_that_commands_show_is_that_of_the_package():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == consumer.__version__


def test_a_release_under_way_is_unreleased_in_the_changelog_and_a_released_one_has_its_date():
    newest, *released = RELEASES
    dated = [re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d", one) for one in released]
    assert all(dated)
    if ".dev" in consumer.__version__:
        assert newest == "Unreleased"
    else:
        assert consumer.__version__ in {one[1] for one in dated}


def test_the_changelog_has_an_entry_a_line_under_the_four_headings():
    for release, text in RELEASES.items():
        headings = sections("###", text)
        assert list(headings) == [name for name in HEADINGS if name in headings], release
        for body in headings.values():
            assert all(line.startswith("- ") for line in body.splitlines() if line), release
