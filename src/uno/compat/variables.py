"""`PYMODULES_*`, the environment variables of one of the systems uno grew out of, under their names of today.

PYMODULES_MAX_WORKERS       UNO_HOST_MAX_WORKERS    and so for all that the host has
PYMODULES_JWT_SECRET_KEY    UNO_JWT_SECRET_KEY      and so for all of JWT_
PYMODULES_DB_URL            UNO_DB_URL              or the parts: DRIVER, HOST, PORT, NAME, USER, PASSWORD
PYMODULES_DB_POOL_TIMEOUT   UNO_DB_ACQUIRE_TIMEOUT

The others, PYMODULES_DB_ECHO or PYMODULES_REDIS_URL for instance, have no counterpart.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from urllib.parse import quote

from uno.settings import DatabaseSettings, HostSettings, JWTSettings, Section

_OLD = "PYMODULES_"
_SECTIONS: dict[str, type[Section]] = {"JWT_": JWTSettings, "DB_": DatabaseSettings, "": HostSettings}
_RENAMED = {"DB_POOL_TIMEOUT": "UNO_DB_ACQUIRE_TIMEOUT"}
_PARTS = ("DB_HOST", "DB_NAME")
_OTHER_PARTS = ("DB_DRIVER", "DB_PORT", "DB_USER", "DB_PASSWORD")
_told: set[str] = set()


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The old variables in `environ` by their new names, but for those whose new name is there already."""
    old = _old(environ)
    found = {new: value for name, value in old.items() if (new := new_name(name))}
    if "DB_URL" not in old and all(part in old for part in _PARTS):
        found["UNO_DB_URL"] = _url(old)
    return {name: value for name, value in found.items() if name not in environ}


def unknown(environ: Mapping[str, str]) -> list[str]:
    """The old variables in `environ` to which nothing corresponds today."""
    old = _old(environ)
    has_url = "DB_URL" in old or all(part in old for part in _PARTS)
    used = (*_PARTS, *_OTHER_PARTS) if has_url else ()
    return sorted(_OLD + name for name in old if new_name(name) is None and name not in used)


def _old(environ: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(_OLD): value for name, value in environ.items() if name.startswith(_OLD)}


def warn(sentence: str, stacklevel: int = 3) -> None:
    """A `DeprecationWarning`, by default where the caller was called."""
    warnings.warn(sentence, DeprecationWarning, stacklevel=stacklevel)


def adopt_environment(tell: Callable[[str], None] = warn) -> dict[str, str]:
    """Set the variables of today from the old ones; gives what it set.

    Call it before the settings are read. The command line does, and so does `resolve` for a name of PyModules.
    `tell` gets the new names, and once those that have none, by default for a `DeprecationWarning`.
    """
    found = environment(os.environ)
    lost = [name for name in unknown(os.environ) if name not in _told]
    os.environ.update(found)
    _told.update(lost)
    sentences = []
    if found:
        sentences.append(f"The variables PYMODULES_* are called otherwise now: set {', '.join(sorted(found))} instead.")
    if lost:
        sentences.append(f"Nothing reads {', '.join(lost)} any more: uno has no counterpart.")
    if sentences:
        tell(" ".join(sentences))
    return found


def new_name(name: str) -> str | None:
    """The variable of today for an old one without its prefix; None where there is none."""
    if name in _RENAMED:
        return _RENAMED[name]
    for part, section in _SECTIONS.items():
        if name.startswith(part) and name.removeprefix(part).lower() in section.model_fields:
            return f"{section.model_config.get('env_prefix', '')}{name.removeprefix(part)}"
    return None


def _url(old: Mapping[str, str]) -> str:
    user, password = (quote(old.get(name, ""), safe="") for name in ("DB_USER", "DB_PASSWORD"))
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    port = f":{old['DB_PORT']}" if old.get("DB_PORT") else ""
    return f"{old.get('DB_DRIVER', 'postgresql')}://{login}{old['DB_HOST']}{port}/{quote(old['DB_NAME'], safe='')}"
