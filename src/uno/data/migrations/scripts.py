"""The folder as Alembic sees it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory

from uno.data.migrations.folder import is_made
from uno.errors import Misconfigured


def config_of(folder: Path, attributes: Mapping[str, Any] | None = None) -> Config:
    """Alembic's configuration; `attributes` reach `configure` through env.py."""
    ini = folder / "alembic.ini"
    config = Config(ini if ini.is_file() else None)
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes.update(attributes or {})
    return config


def scripts_of(folder: Path) -> ScriptDirectory:
    if not is_made(folder):
        raise Misconfigured(f"There is no {folder / 'env.py'}; make it with: uno db revision PACKAGE:APP -m MESSAGE")
    (folder / "versions").mkdir(exist_ok=True)  # git keeps no empty folders
    return ScriptDirectory.from_config(config_of(folder))
