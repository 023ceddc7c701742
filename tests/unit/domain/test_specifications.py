"""Specifications follow the laws of logic."""

import pytest
from hypothesis import given, strategies as st

from uno.domain import Specification, specification
from uno.errors import Misconfigured


class Above(Specification[int]):
    def __init__(self, bound: int) -> None:
        self.bound = bound

    def is_satisfied_by(self, candidate: int) -> bool:
        return candidate > self.bound


@specification
def even(n: int) -> bool:
    return n % 2 == 0


def rules() -> st.SearchStrategy[Specification[int]]:
    simple = st.integers(-9, 9).map(Above) | st.just(even)
    return st.recursive(
        simple,
        lambda inner: (
            st.tuples(inner, inner).map(lambda p: p[0] & p[1])
            | st.tuples(inner, inner).map(lambda p: p[0] | p[1])
            | inner.map(lambda s: ~s)
        ),
        max_leaves=6,
    )


@given(rules(), rules(), rules(), st.integers(-10, 10))
def test_rules_combine_as_logic_does(
    a: Specification[int], b: Specification[int], c: Specification[int], n: int
) -> None:
    assert (a & b)(n) == (a(n) and b(n)) == (b & a)(n)
    assert (a | b)(n) == (a(n) or b(n)) == (b | a)(n)
    assert (~a)(n) == (not a(n))
    assert (~~a)(n) == a(n)
    assert (~(a & b))(n) == (~a | ~b)(n)
    assert (~(a | b))(n) == (~a & ~b)(n)
    assert ((a & b) & c)(n) == (a & (b & c))(n)
    assert ((a | b) | c)(n) == (a | (b | c))(n)
    assert (a & (b | c))(n) == ((a & b) | (a & c))(n)
    assert (a & ~a)(n) is False
    assert (a | ~a)(n) is True


def test_a_rule_can_be_called_or_asked() -> None:
    assert Above(3)(4)
    assert Above(3).is_satisfied_by(4)
    assert not even.is_satisfied_by(3)


def test_the_second_rule_is_not_asked_where_the_first_decides() -> None:
    @specification
    def never(n: int) -> bool:
        raise AssertionError("asked")

    assert not (Above(3) & never)(1)
    assert (Above(3) | never)(4)


def test_a_combined_rule_shows_its_parts() -> None:
    assert repr((Above(3) & even) | ~even) == "((Above & even) | ~even)"


def test_a_rule_that_says_nothing_is_an_error() -> None:
    class Empty(Specification[int]):
        pass

    with pytest.raises(Misconfigured, match="Empty defines no filter"):
        Empty()(1)
    for rule in (Above(3), Above(3) & even, ~even):
        with pytest.raises(Misconfigured, match="defines no filter"):
            rule.filter()
