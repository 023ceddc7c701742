"""Texts whatever the case of their letters: the same in Python, on SQLite and on PostgreSQL with C.UTF-8."""

from typing import Any, Final

# What SQLite calls `small` in SQL.
SMALL: Final = "uno_small"
# The two that `str.lower` has rules of their own for.
_OTHERWISE: Final = str.maketrans("İΣ", "iσ")


def small(text: str) -> str:
    """The text with each letter as a small one, which is one letter too."""
    return text.translate(_OTHERWISE).lower() if "İ" in text or "Σ" in text else text.lower()


def teach(connection: Any) -> None:
    """SQLite itself knows the case of ASCII letters only."""
    connection.create_function(
        SMALL, 1, lambda value: small(value) if type(value) is str else value, deterministic=True
    )
