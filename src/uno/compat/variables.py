"""`PYMODULES_*`, the environment variables of one of the systems uno grew out of, under their names of today.

PYMODULES_MAX_WORKERS       UNO_HOST_MAX_WORKERS    and so for all that the host has
PYMODULES_JWT_SECRET_KEY    UNO_JWT_SECRET_KEY      and so for all of JWT_
PYMODULES_DB_URL            UNO_DB_URL              or the parts: DRIVER, HOST, PORT, NAME, USER, PASSWORD
PYMODULES_DB_POOL_TIMEOUT   UNO_DB_ACQUIRE_TIMEOUT
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


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The old variables in `environ` by their new names, but for those whose new name is there already."""
    old = {name.removeprefix(_OLD): value for name, value in environ.items() if name.startswith(_OLD)}
    found = {new: value for name, value in old.items() if (new := new_name(name))}
    if "DB_URL" not in old and all(part in old for part in _PARTS):
        found["UNO_DB_URL"] = _url(old)
    return {name: value for name, value in found.items() if name not in environ}


def _warn(sentence: str) -> None:
    warnings.warn(sentence, DeprecationWarning, stacklevel=3)


def adopt_environment(tell: Callable[[str], None] = _warn) -> dict[str, str]:
    """Set the variables of today from the old ones; gives what it set.

    Call it before the settings are read. The command line does, and so does `uno.compat.pymodules`.
    `tell` gets one sentence with the new names, by default for a `DeprecationWarning`.
    """
    found = environment(os.environ)
    if found:
        os.environ.update(found)
        tell(f"The variables PYMODULES_* are called otherwise now: set {', '.join(sorted(found))} instead.")
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
