"""Variables that are called as uno's are, and that nothing of uno reads: most are misspelt."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uno.settings import Section

# Those that are read elsewhere than in the settings.
_OTHERS = ("UNO_DATA_DIR", "UNO_DEBUG", "UNO_TEST_POSTGRES_URL", "UNO_TOKEN", "UNO_INVENTORY_WEBHOOK")
_SIMILAR = 0.7


def unread() -> dict[str, str | None]:
    """The variables UNO_* of the environment and of `.env` that no settings read, each with the nearest that is read.

    Sections of the application's own count, once they are imported.
    """
    from uno.settings import Section

    known = {*_OTHERS, *_read_by(Section)}
    lost = [name for name in sorted(_given()) if name not in known and not _is_inside(name, known)]
    return {name: next(iter(get_close_matches(name, sorted(known), 1, _SIMILAR)), None) for name in lost}


def told(name: str, nearest: str | None) -> str:
    """A sentence; the variable may be the user's own."""
    return f"Nothing of uno reads {name}" + (f"; did you mean {nearest}?" if nearest else ".")


def warn_of_unread() -> None:
    """One line in the log for all of them."""
    from uno.telemetry import get_logger

    found = [told(name, nearest) for name, nearest in unread().items()]
    if found:
        get_logger("uno.settings").warning(" ".join(found))


def _given() -> set[str]:
    from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

    from uno.settings import Settings

    sources = (EnvSettingsSource(Settings), DotEnvSettingsSource(Settings))
    return {name.upper() for source in sources for name in source.env_vars if name.upper().startswith("UNO_")}


def _read_by(section: "type[Section]") -> Iterator[str]:
    """What the sections under this one read."""
    from uno.settings import OWN, Settings

    for one in section.__subclasses__():
        prefix = one.model_config.get("env_prefix", "")
        # `Settings` has the sections as its fields, and each reads its own.
        for name in OWN if one is Settings else one.model_fields:
            yield f"{prefix}{name}".upper()
            yield f"{prefix}_{name}".upper()
        yield from _read_by(one)


def _is_inside(name: str, known: set[str]) -> bool:
    """Whether it is a part of one, behind two underscores."""
    outer, found, _ = name.rpartition("__")
    return bool(found) and (outer in known or _is_inside(outer, known))
