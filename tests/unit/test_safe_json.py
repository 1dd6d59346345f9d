import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.safe_json import (
    MAX_ELEMENTS,
    MAX_VALUES,
    NestedTooDeep,
    NotJson,
    loads,
    loads_lenient,
    parse,
    prune,
    split_array,
)


@pytest.mark.parametrize(
    ("body", "value", "fields"),
    [
        (b'{"a":"bad \\ud83d name"}', {"a": "bad \ufffd name"}, ("a",)),
        (b'{"a":["x","\\udc00"]}', {"a": ["x", "\ufffd"]}, ("an element",)),
        (b'{"a\\ud83d":1}', {"a\ufffd": 1}, ("a\ufffd",)),
        (b'"\xed\xa0\xbd"', "\ufffd", ("an element",)),
        (b'{"n":1e400}', {"n": "1e400"}, ("n",)),
        (
            b'{"n":123456789012345678901,"s":"\\ud800"}',
            {"n": "123456789012345678901", "s": "\ufffd"},
            ("n", "s"),
        ),
        (b'{"n":18446744073709551615}', {"n": 2**64 - 1}, ()),
        (b'{"n":-9223372036854775808}', {"n": -(2**63)}, ()),
        (b'\xef\xbb\xbf{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}, ()),
    ],
)
def test_what_the_grammar_allows_is_read_and_what_nobody_could_write_again_is_replaced_and_named(
    body, value, fields
):
    lenient = loads_lenient(body)
    assert (lenient.value, lenient.fields) == (value, fields)
    json.dumps(loads(body), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        b'"\x01"',
        b"\xff",
        b'"\xff"',
        b"",
        b"[1,]",
        b"'a'",
        b"[1] 2",
    ],
)
def test_what_the_grammar_does_not_allow_is_not_json(body):
    with pytest.raises(NotJson):
        loads(body)
    assert parse(body) is None


def test_what_no_parser_follows_is_told_apart_from_what_is_not_json():
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(NestedTooDeep):
        loads(deep)
    assert parse(b"[" * 900 + b"]" * 900) is None


def test_more_values_than_memory_should_hold_are_refused_before_they_are_parsed():
    with pytest.raises(NotJson, match="values"):
        loads(b"[" + b"[]," * MAX_VALUES + b"1]")
    with pytest.raises(NotJson, match="arrays and objects"):
        split_array(b"[" + b"[]," * MAX_VALUES + b"1]")
    with pytest.raises(NotJson, match="elements"):
        split_array(b"[" + b"1," * (MAX_ELEMENTS + 1) + b"1]")
    with pytest.raises(NotJson, match="elements"):
        split_array(b"[" + b"{}," * (MAX_ELEMENTS + 1) + b"{}]")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\,[]{} é\n', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(values, max_size=6), st.sampled_from([None, 1]), st.booleans())
def test_the_pieces_of_an_array_are_its_elements(elements, indent, ascii_only):
    body = json.dumps(elements, indent=indent, ensure_ascii=ascii_only).encode()
    assert [json.loads(body[begin:end]) for begin, end in split_array(body)] == elements


@given(st.text(alphabet='[]{},"\\1a ', max_size=14))
def test_what_is_split_is_json_when_all_pieces_are_and_what_is_json_is_split(text):
    body = text.encode()
    try:
        pieces = [body[begin:end] for begin, end in split_array(body)]
        for piece in pieces:
            loads(piece)
        is_array = True
    except NotJson:
        is_array = False
    try:
        is_json = isinstance(json.loads(body), list)
    except ValueError:
        is_json = False
    assert is_array == is_json


def test_what_is_pruned_keeps_what_is_not_deep():
    deep = (
        b'{"channel":"/data/X","data":{"payload":{"A":'
        + b"[" * 5_000
        + b'"]"'
        + b"]" * 5_000
        + b'},"event":{"replayId":7}}}'
    )
    pruned = json.loads(prune(deep))
    assert pruned["channel"] == "/data/X"
    assert pruned["data"]["event"] == {"replayId": 7}
    with pytest.raises(NotJson):
        prune(b"[[")
