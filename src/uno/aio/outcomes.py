"""What several wait for, for each of them: an error is each one's own, because who gets one writes on it.

A traceback grows, `add_note` adds to it, and a retry that has given up says so there to those around it.
"""

from functools import lru_cache
from types import MemberDescriptorType
from typing import Any, TypeVar

from uno.result import Failure

E = TypeVar("E", bound=BaseException)


def for_one(outcome: Any) -> Any:
    """The same value; of an error, or of a `Failure` with one, a twin."""
    if isinstance(outcome, BaseException):
        return twin(outcome)
    if outcome.__class__ is Failure and isinstance(outcome.error, Exception):
        return Failure(twin(outcome.error))
    return outcome


def twin(error: E) -> E:
    """The same error in another object; the error itself where its class lets nobody make one.

    Its `__init__` is not called: that of a class of one's own has any signature, and would make the text anew.
    """
    try:
        made = error.__class__.__new__(error.__class__, *error.args)
        _take_over(made, error)
    except Exception:  # all who wait see the error itself
        return error
    return made


def _take_over(made: BaseException, error: BaseException) -> None:
    kind: type = error.__class__
    made.args = error.args
    made.__dict__.update(error.__dict__)
    if "__notes__" in made.__dict__:
        made.__notes__ = [*error.__notes__]
    made.__cause__, made.__context__ = error.__cause__, error.__context__
    # After the cause, which sets one of them. Others are those of OSError: errno, filename.
    for name in _members(kind):
        # One that was never set may be None to who asks, and something else to the class.
        if (value := getattr(error, name, None)) is not None:
            setattr(made, name, value)
    made.__traceback__ = error.__traceback__


@lru_cache(256)
def _members(kind: type) -> list[str]:
    """The attributes that are not in the dictionary of an error."""
    # What a group has was given to its __new__, and is read-only.
    kinds = [one for one in kind.__mro__ if one is not BaseExceptionGroup]
    return [name for one in kinds for name, found in vars(one).items() if type(found) is MemberDescriptorType]
