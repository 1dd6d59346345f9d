"""Ids as Salesforce has them and as people paste them; the long forms are of real orgs."""

import re

import pytest

from consumer.domain.record_ids import (
    EMPTY_ID,
    is_record_id,
    is_wildcard,
    parse_record_id,
    to_18,
)

REAL = (
    "77CWP0000000hJV2AY",
    "0055f000005mc66AAA",
    "00106000029G61DAAS",
    "0015f00002J9YaUAAV",
    "005WP000000M6o1YAC",
)


@pytest.mark.parametrize("known", REAL)
def test_fifteen_characters_get_the_three_that_salesforce_gives_them(known):
    assert to_18(known[:15]) == known
    assert to_18(known) == known


def test_the_checksum_is_over_which_of_the_fifteen_are_upper_case():
    # One letter of each group of five, then all: the digits of the checksum in base 2.
    assert to_18("AaaaaaAaaaaaAaa") == "AaaaaaAaaaaaAaa" + "BCE"
    assert to_18("aaaAaaaaaAAAAAA") == "aaaAaaaaaAAAAAA" + "IQ5"
    assert to_18("000000000000000") == EMPTY_ID


def test_eighteen_characters_whose_last_three_were_changed_to_lower_case_are_the_same_id():
    assert to_18("77CWP0000000hJV2ay") == "77CWP0000000hJV2AY"


def test_a_wrong_checksum_is_refused_with_the_right_one():
    with pytest.raises(ValueError, match=r"'77CWP0000000hJV2AZ' is not .*should be 2AY"):
        to_18("77CWP0000000hJV2AZ")


@pytest.mark.parametrize(
    "text", ["", "77CWP0000000hJ", "77CWP0000000hJV2", "77CWP0000000hJV2AYx", "77CWP0000000h-V"]
)
def test_what_has_another_form_is_refused_by_name(text):
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is not a Salesforce record id")):
        to_18(text)


@pytest.mark.parametrize(
    "text",
    [
        "005WP000000M6o1YAC",
        " 005WP000000M6o1\n",
        "https://acme.lightning.force.com/lightning/r/User/005WP000000M6o1YAC/view",
        # The first word of fifteen letters and digits with a wrong checksum is passed over.
        "005WP000000M6o1YAD, I mean 005WP000000M6o1YAC",
    ],
)
def test_an_id_is_found_in_what_people_paste(text):
    assert parse_record_id(text) == "005WP000000M6o1YAC"


def test_what_holds_no_id_is_refused_by_name():
    with pytest.raises(ValueError, match="'see above' contains no Salesforce record id"):
        parse_record_id("see above")


def test_a_wildcard_ends_with_a_star():
    assert is_wildcard("001*")
    assert not is_wildcard("005WP000000M6o1YAC")
    assert not is_wildcard("*001")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("005WP000000M6o1YAC", True),
        ("005WP000000M6o1", False),
        ("005WP000000M6o1YACx", False),
        ("005WP000000M6o1YA*", False),
        ("005WP000000M6o1YAé", False),
    ],
)
def test_a_record_id_is_eighteen_letters_and_digits(text, verdict):
    assert is_record_id(text) is verdict
