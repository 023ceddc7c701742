"""Success and Failure, as the ones who get them use them."""

import copy
import pickle

import pytest
from hypothesis import given, strategies as st

from uno.errors import NotFound
from uno.result import Failure, Result, Success


def half(n: int) -> Result[int]:
    return Success(n // 2) if n % 2 == 0 else Failure(ValueError(f"{n} is odd"))


def told(result: Result[int]) -> str:
    match result:
        case Success(value):
            return f"got {value}"
        case Failure(NotFound(kind=kind)):
            return f"no {kind}"
        case Failure(error):
            return f"failed: {error}"


def test_a_success_has_a_value_and_no_error() -> None:
    result = Success(3)
    assert (result.is_success, result.is_failure, result.value, result.error) == (True, False, 3, None)


def test_a_failure_has_an_error_and_no_value() -> None:
    error = NotFound("order", 1)
    result = Failure(error)
    assert (result.is_success, result.is_failure, result.value, result.error) == (False, True, None, error)


def test_match_takes_both_apart() -> None:
    assert told(Success(3)) == "got 3"
    assert told(Failure(NotFound("order", 1))) == "no order"
    assert told(Failure(ValueError("no"))) == "failed: no"


def test_map_changes_the_value_and_leaves_a_failure_alone() -> None:
    failure = Failure(ValueError())
    assert Success(3).map(str) == Success("3")
    assert failure.map(str) is failure


def test_what_a_mapped_function_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Success(0).map(lambda n: 1 // n)


def test_and_then_goes_on_until_the_first_failure() -> None:
    assert Success(8).and_then(half).and_then(half) == Success(2)
    stopped = Success(6).and_then(half).and_then(half).and_then(half)
    assert told(stopped) == "failed: 3 is odd"


def test_unwrap_gives_the_value_or_raises_the_very_error() -> None:
    error = NotFound("order", 1)
    assert Success(3).unwrap() == 3
    with pytest.raises(NotFound) as raised:
        Failure(error).unwrap()
    assert raised.value is error


def test_unwrap_or_gives_the_default_only_for_a_failure() -> None:
    assert Success(None).unwrap_or(4) is None
    assert Failure(ValueError()).unwrap_or(4) == 4


def test_results_are_equal_by_what_they_hold_and_can_be_in_a_set() -> None:
    error = ValueError()
    assert {Success(1), Success(1), Success(2)} == {Success(1), Success(2)}
    assert {Failure(error), Failure(error)} == {Failure(error)}
    assert Failure(error) != Failure(ValueError())
    assert Success(error) != Failure(error)


def test_a_result_shows_what_it_holds() -> None:
    assert repr(Success("a")) == "Success('a')"
    assert repr(Failure(ValueError("no"))) == "Failure(ValueError('no'))"


def test_a_result_can_be_copied_and_pickled() -> None:
    assert pickle.loads(pickle.dumps(Success([1]))) == Success([1])
    assert copy.deepcopy(Success([1])) == Success([1])


def twice(n: int) -> Result[int]:
    return Success(n * 2)


@given(st.integers())
def test_the_laws_hold(n: int) -> None:
    assert Success(n).and_then(half).value == half(n).value
    assert Success(n).and_then(Success) == Success(n)
    assert (
        Success(n).and_then(half).and_then(twice).value == Success(n).and_then(lambda m: half(m).and_then(twice)).value
    )
    assert Success(n).map(abs).map(str) == Success(n).map(lambda m: str(abs(m)))
