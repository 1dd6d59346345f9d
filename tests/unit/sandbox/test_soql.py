from typing import Any

import pytest

from consumer.sandbox.schema import TRACKER
from consumer.sandbox.soql import QueryRefused, parse

ROWS: list[dict[str, Any]] = [
    {
        "Id": "0qBWP0000001AbC2AU",
        "State": "Running",
        "DaisyChainIteration": 1,
        "IsTrackerActive": True,
        "LastModifiedDate": 1_000,
    },
    {
        "Id": "0qBWP0000001AbF2AU",
        "State": "Paused",
        "DaisyChainIteration": 3,
        "IsTrackerActive": True,
        "LastModifiedDate": 3_000,
    },
    {
        "Id": "0qBWP0000001AbG2AU",
        "State": "Complete",
        "DaisyChainIteration": 2,
        "IsTrackerActive": False,
        "LastModifiedDate": 2_000,
    },
    {
        "Id": "0qBWP0000001AbH2AU",
        "State": None,
        "DaisyChainIteration": None,
        "IsTrackerActive": False,
        "LastModifiedDate": 2_000,
    },
]


def asked(rest: str) -> list[int]:
    """Which rows, by index, the query returns."""
    found = parse(f"SELECT Id FROM {TRACKER} {rest}").run(ROWS, 0)
    return [ROWS.index(row) for row in found]


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("", [0, 1, 2, 3]),
        ("WHERE State = 'Running'", [0]),
        ("where state = 'RUNNING'", [0]),
        ("WHERE State != 'Running'", [1, 2, 3]),
        ("WHERE State = null", [3]),
        ("WHERE State IN ('Running', 'Paused')", [0, 1]),
        ("WHERE State NOT IN ('Running','Paused')", [2, 3]),
        ("WHERE IsTrackerActive = true AND DaisyChainIteration > 1", [1]),
        ("WHERE DaisyChainIteration >= 2 AND DaisyChainIteration <= 3", [1, 2]),
        ("WHERE (State = 'Running' OR State = 'Complete') AND NOT DaisyChainIteration = 2", [0]),
        ("WHERE LastModifiedDate > 1970-01-01T00:00:02Z", [1]),
        ("WHERE LastModifiedDate >= 1970-01-01T01:00:02.000+01:00", [1, 2, 3]),
        ("WHERE LastModifiedDate < 1970-01-02", [0, 1, 2, 3]),
        ("WHERE State LIKE 'P%'", [1]),
        ("WHERE State LIKE '_omplete'", [2]),
        ("WHERE Id = '0qBWP0000001AbF'", [1]),
        ("ORDER BY DaisyChainIteration", [3, 0, 2, 1]),
        ("ORDER BY DaisyChainIteration DESC", [3, 1, 2, 0]),
        ("ORDER BY DaisyChainIteration DESC NULLS LAST", [1, 2, 0, 3]),
        ("ORDER BY DaisyChainIteration NULLS LAST", [0, 2, 1, 3]),
        ("ORDER BY LastModifiedDate, Id DESC", [0, 3, 2, 1]),
        ("ORDER BY LastModifiedDate DESC LIMIT 2", [1, 2]),
        ("LIMIT 2 OFFSET 1", [1, 2]),
    ],
)
def test_a_query_returns_the_matching_rows_in_order(rest: str, expected: list[int]) -> None:
    assert asked(rest) == expected


def test_quotes_can_be_escaped() -> None:
    query = parse(rf"SELECT Id FROM {TRACKER} WHERE State = 'it\'s'")
    assert query.run([{"State": "it's"}], 0) == [{"State": "it's"}]


def test_count_selects_no_fields() -> None:
    assert parse(f"SELECT COUNT() FROM {TRACKER}").fields == ()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT Foo FROM ActionCadenceTracker", "INVALID_FIELD"),
        ("SELECT Id FROM Nonsense", "INVALID_TYPE"),
        ("SELECT Id", "MALFORMED_QUERY"),
        ("SELECT Id FROM ActionCadenceTracker WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM ActionCadenceTracker WHERE State = 'a", "MALFORMED_QUERY"),
        ("SELECT Id FROM ActionCadenceTracker WHERE State IN ('a'", "MALFORMED_QUERY"),
        ("SELECT Id FROM ActionCadenceTracker LIMIT 1 nonsense", "MALFORMED_QUERY"),
    ],
)
def test_a_bad_query_is_refused_with_salesforces_code(query: str, code: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        parse(query)
    assert refused.value.code == code
