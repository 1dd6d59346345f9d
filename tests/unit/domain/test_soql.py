from consumer.domain.soql import batches, quoted, quoted_list


def test_a_literal_ends_where_its_value_ends():
    assert quoted("O'Neil \\ Sons") == "'O\\'Neil \\\\ Sons'"
    assert quoted_list(["a", "b'"]) == "'a', 'b\\''"


def test_batches_hold_every_value_once_in_order():
    assert [list(batch) for batch in batches("abcde", size=2)] == [["a", "b"], ["c", "d"], ["e"]]
    assert list(batches([])) == []
