"""Errors of a database that does not answer say which one it is."""

import pytest

from uno.data import Database
from uno.data.naming import naming
from uno.errors import Misconfigured
from uno.resilience import CircuitBreakerOpen


def test_an_error_says_which_database_it_is_about_and_stays_what_it_is() -> None:
    error = CircuitBreakerOpen("Nobody is asked.", retry_after=3.0, breaker="database")
    told = r"^Nobody is asked\. It is sqlite:///:memory:\.$"
    with pytest.raises(CircuitBreakerOpen, match=told) as caught, naming(Database("sqlite:///:memory:")):
        raise error
    assert (caught.value.retry_after, caught.value.breaker) == (3.0, "database")
    assert caught.value.__cause__ is error
    assert str(error) == "Nobody is asked."


def test_an_error_of_another_kind_is_left_alone() -> None:
    error = Misconfigured("There are no tables.")
    with pytest.raises(Misconfigured) as caught, naming(Database("sqlite:///:memory:")):
        raise error
    assert caught.value is error
