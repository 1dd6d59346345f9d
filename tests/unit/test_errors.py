from consumer.errors import CommitRefused, StoreForeign, first_error


def test_the_first_error_of_nested_groups_is_the_error_itself():
    refused = CommitRefused(3, "other")
    inner = ExceptionGroup("inner", [refused, StoreForeign("x")])
    assert first_error(inner) is refused
    assert first_error(ExceptionGroup("outer", [inner, StoreForeign("y")])) is refused
