"""The error tree: who is whose, what each carries, and the text a start-up failure shows."""

import pytest

from uno import errors
from uno.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    KeyInUse,
    KeyReused,
    Misconfigured,
    NotFound,
    OutcomeUnknown,
    Problem,
    RateLimited,
    TimedOut,
    Unauthenticated,
    Unavailable,
    UnoError,
    VersionConflict,
)


@pytest.mark.parametrize(
    ("leaf", "parent"),
    [
        (Invalid, UnoError),
        (NotFound, UnoError),
        (Conflict, UnoError),
        (VersionConflict, Conflict),
        (KeyInUse, Conflict),
        (KeyReused, Invalid),
        (Unauthenticated, UnoError),
        (Forbidden, UnoError),
        (RateLimited, UnoError),
        (Unavailable, UnoError),
        (OutcomeUnknown, Unavailable),
        (TimedOut, UnoError),
        (TimedOut, TimeoutError),
        (Misconfigured, UnoError),
    ],
)
def test_the_tree_is_the_one_that_is_drawn(leaf: type[Exception], parent: type[Exception]) -> None:
    assert issubclass(leaf, parent)
    assert leaf.__name__ in (errors.__doc__ or "")


def test_a_wrong_input_names_its_field() -> None:
    error = Invalid.field("address.city", "is missing", "missing")
    assert error.errors == (FieldError("address.city", "is missing", "missing"),)
    assert str(error) == "address.city: is missing"


def test_an_invalid_input_keeps_all_its_fields_in_order() -> None:
    wrong = [FieldError("a", "too long"), FieldError("b", "too short")]
    assert Invalid("Two are wrong.", iter(wrong)).errors == tuple(wrong)
    assert Invalid().errors == ()


def test_not_found_says_what_was_looked_for() -> None:
    error = NotFound("order", "42' OR 1=1")
    assert (error.kind, error.id) == ("order", "42' OR 1=1")
    assert "order" in str(error)
    assert "42" in str(error)


def test_a_conflict_may_name_its_constraint() -> None:
    assert Conflict("Taken.", constraint="users_email_key").constraint == "users_email_key"
    assert Conflict("Taken.").repeatable is False


def test_a_version_conflict_names_every_row() -> None:
    error = VersionConflict("order", iter(["a", "b"]), repeatable=True)
    assert (error.kind, error.ids, error.repeatable, error.constraint) == ("order", ("a", "b"), True, None)
    assert "'a', 'b'" in str(error)


@pytest.mark.parametrize("kind", [RateLimited, Unavailable, OutcomeUnknown])
def test_what_may_be_tried_again_says_when(kind: type[Unavailable]) -> None:
    assert kind("Later.", retry_after=7.5).retry_after == 7.5
    assert kind("Later.").retry_after > 0


def test_a_time_out_is_caught_as_the_standard_one() -> None:
    with pytest.raises(TimeoutError, match="30 s"):
        raise TimedOut("It took longer than 30 s.")


def test_all_problems_are_shown_in_one_sorted_text() -> None:
    error = Misconfigured.of(
        [
            Problem("route clash", "GET /a", "A and B have the same path; give one a path= of its own."),
            Problem("missing provider", "Gateway", "Provide it.", ("pay", "Payments", "Gateway")),
            Problem("missing provider", "Clock", "Provide it.", ("tick",)),
        ]
    )
    assert str(error) == (
        "The application cannot start: 3 problems.\n"
        "1. missing provider: Clock\n"
        "   Provide it.\n"
        "2. missing provider: Gateway\n"
        "   Provide it.\n"
        "   pay → Payments → Gateway\n"
        "3. route clash: GET /a\n"
        "   A and B have the same path; give one a path= of its own."
    )
    assert [p.where for p in error.problems] == ["Clock", "Gateway", "GET /a"]


def test_the_same_problem_found_twice_is_told_once() -> None:
    problem = Problem("cyclic dependency", "A", "Break it.", ("A", "B", "A"))
    error = Misconfigured.of([problem, problem])
    assert str(error).startswith("The application cannot start: 1 problem.\n1. cyclic dependency: A")
    assert error.problems == (problem,)


@pytest.mark.parametrize(
    ("id", "text"),
    [
        (("none", 1), "'none,1'"),
        (("a,b", "c"), repr(r"a\,b,c")),
        (("",), "''"),
        (7, "'7'"),
    ],
)
def test_a_composite_id_is_told_as_it_is_in_a_path(id: object, text: str) -> None:
    missing, stale = NotFound("K", id), VersionConflict("K", [id])
    assert str(missing) == f"There is no K with id {text}."
    assert str(stale) == f"K {text} was changed by somebody else since it was read."
    assert (missing.id, stale.ids) == (id, (id,))
