"""Settings that are numbers."""

from typing import Any

from uno.errors import Misconfigured


def require_numbers(owner: str, **given: Any) -> None:
    """Raises `Misconfigured` for what cannot be compared with a number."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Misconfigured(f"{name} of {owner} is a number, not {value!r}.")
