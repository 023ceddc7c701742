"""The folder of migrations: Alembic's own layout, so that its command works on it, too."""

import re
from configparser import ConfigParser, Error
from pathlib import Path

from uno.errors import Misconfigured

_INI = """\
# For `uno db …`, and for `alembic -c {folder}/alembic.ini …` beside it.
[alembic]
uno_app = {application}
script_location = %(here)s
prepend_sys_path = .
path_separator = os
file_template = %%(year)d%%(month).2d%%(day).2d_%%(rev)s_%%(slug)s
"""
_ENV = '''\
"""Alembic comes in here, whoever calls it."""

from uno.cli.environment import run

# Takes what Alembic's `context.configure` takes, to add to what uno says there.
run()
'''
_TEMPLATE = """\
${repr(message)}

import sqlalchemy as sa
from alembic import op
${imports + chr(10) if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
"""


def make(folder: Path, application: str) -> None:
    """A folder without any migration yet. Raises `Misconfigured` where something else is in its place."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Misconfigured(f"{folder} is there and holds no migrations; name another with App(…, migrations=…).")
    try:
        (folder / "versions").mkdir(parents=True)
        (folder / "alembic.ini").write_text(_INI.format(folder=folder.name, application=application))
        (folder / "env.py").write_text(_ENV)
        (folder / "script.py.mako").write_text(_TEMPLATE)
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be written: {error.strerror}.") from error


def is_made(folder: Path) -> bool:
    return (folder / "env.py").is_file()


def application_of(folder: Path) -> str | None:
    """The `package.module:attribute` that a folder was made for, None where uno made none."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(folder / "alembic.ini", encoding="utf-8")
    except (Error, UnicodeDecodeError):
        return None
    return parser.get("alembic", "uno_app", fallback=None)


def mentions(folder: Path | None, table: str) -> bool:
    """Whether a migration speaks of a table; any other table that no model has is somebody else's."""
    quoted = re.compile(rf"[\"']{re.escape(table)}[\"']")
    versions = [] if folder is None else (folder / "versions").rglob("*.py")
    return any(quoted.search(one.read_text(encoding="utf-8")) for one in versions)
