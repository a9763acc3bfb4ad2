"""The helper that the tests of hash orders rely on."""

import pytest
from hash_orders import printed_by_both


def test_sets_have_different_orders_in_the_two_processes():
    first, second = printed_by_both("print({'train', 'val', 'test', 'mdkd', 'mld', 'person'})")
    assert first != second
    assert eval(first) == eval(second)


def test_an_error_of_the_code_is_shown():
    with pytest.raises(AssertionError, match="division by zero"):
        printed_by_both("1 / 0")
