"""The migrations of an application: revise, upgrade, downgrade, compare."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.autogenerate import produce_migrations
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect

from uno.data import capture
from uno.data.database import Database
from uno.data.migrations.comparing import Difference, differences
from uno.data.migrations.connection import changing, reading
from uno.data.migrations.enums import enum_changes
from uno.data.migrations.environment import options
from uno.data.migrations.failures import telling
from uno.data.migrations.folder import is_made, make
from uno.data.migrations.scripts import config_of, scripts_of
from uno.data.migrations.written import checked
from uno.data.references import require_referred
from uno.errors import Misconfigured

T = TypeVar("T")
APPLICATION = "PACKAGE:APP"


@dataclass(frozen=True, slots=True)
class State:
    """Where a database is, and where the migrations lead; both are one revision, unless there are branches."""

    current: tuple[str, ...]
    heads: tuple[str, ...]

    @property
    def is_latest(self) -> bool:
        return set(self.current) == set(self.heads)


@dataclass(frozen=True, slots=True)
class Step:
    """One migration. `applied` says whether the database has it."""

    revision: str
    message: str
    down_revision: str
    applied: bool
    path: Path


class Migrations:
    """Those in `folder`, of the tables in `tables`, on an open database.

    `application` is what sentences call it, as in `uno db upgrade package:app`. Every method raises `Misconfigured`
    with one sentence for what is wrong with the migrations, and leaves the database as it was.
    """

    def __init__(
        self, database: Database, folder: Path, tables: Sequence[MetaData], *, application: str = APPLICATION
    ) -> None:
        self.database = database
        self.folder = folder.absolute()
        self.application = application
        self._tables = tables

    @property
    def exist(self) -> bool:
        """Whether there is at least one in the folder."""
        return bool(self._heads())

    def _heads(self) -> tuple[str, ...]:
        with telling(self.folder):
            return tuple(scripts_of(self.folder).get_heads())

    async def state(self) -> State:
        return State(await self._read(_current), self._heads())

    async def history(self) -> list[Step]:
        """All migrations, the newest first."""
        current = await self._read(_current)
        with telling(self.folder):
            scripts = scripts_of(self.folder)
            applied = {one.revision for one in _known(scripts, current)}
            return [_step(one, one.revision in applied) for one in scripts.walk_revisions()]

    async def differences(self, *, blank: bool = False) -> list[Difference]:
        """What the database lacks to be as the models say; `blank` compares with an empty one."""
        found = await self._compared(blank)
        return found if blank else [*found, *await self._read(self._triggers)]

    async def revise(self, message: str, *, empty: bool = False) -> Path | None:
        """Write the migration that makes the database what the models say; None where nothing differs.

        Without any migration the first one makes all tables, and a database that has them already is marked as
        being there. `empty` writes one to be filled by hand.
        """
        if not empty:
            await self._read(lambda connection: require_referred(connection, self._tables))
        if not is_made(self.folder):
            make(self.folder, self.application)
        first = not self._heads()
        adopted = first and not empty and await self._has_tables()
        if adopted and await self._compared():
            raise Misconfigured(
                "The database has tables of the application that are not as the models say (uno db diff shows it); "
                "write the first migration on an empty database, or on one that is equal."
            )
        if not first:
            await self.require()
        path = await self._read(lambda connection: self._write(connection, message, empty=empty, first=first))
        if path is not None and adopted:
            await self._change(lambda config: command.stamp(config, "heads"))
        return path

    async def upgrade(self, revision: str = "head") -> list[str]:
        """The revisions that were applied, in their order; triggers become those of their classes."""
        await self._adopt()
        return await self._change(lambda config: command.upgrade(config, revision), renew=True)

    async def downgrade(self, revision: str) -> list[str]:
        """The revisions that were undone, in their order."""
        return await self._change(lambda config: command.downgrade(config, revision))

    async def require(self) -> None:
        """Raise `Misconfigured`, naming the command, unless the database is where the migrations lead."""
        state = await self.state()
        if state.is_latest:
            return
        run = f"run: uno db upgrade {self.application}"
        if not state.current:
            raise Misconfigured(f"The database has none of the migrations in {self.folder}; {run}")
        with telling(self.folder):
            known = _known(scripts_of(self.folder), state.current)
        if not known:
            raise Misconfigured(
                f"The database is at revision {_listed(state.current)}, which is not in {self.folder}: it is newer "
                "than this program, or it is another application's."
            )
        here, there = _listed(state.current), _listed(state.heads)
        raise Misconfigured(f"The database is at revision {here}, and its migrations lead to {there}; {run}")

    async def _adopt(self) -> None:
        """Mark a database that has the tables without migrations, as `create_all` makes them."""
        # In this order: who has just made the tables has marked the database with them.
        if not await self._has_tables():
            return
        current = await self._read(_current)
        if current:
            return
        if await self._compared():
            raise Misconfigured(
                "The database has tables of the application and no migrations, and they are not as the models say: "
                "uno db diff shows how; make them equal, or take an empty database."
            )
        await self._change(lambda config: command.stamp(config, "heads"))

    async def _has_tables(self) -> bool:
        wanted = [table for one in self._tables for table in one.tables.values()]

        def look(connection: Any) -> bool:
            there = inspect(connection)
            return any(there.has_table(table.name, schema=table.schema) for table in wanted)

        return await self._read(look)

    async def _read(self, work: Callable[[Any], T]) -> T:
        with telling(self.folder):
            return await reading(self.database, work)

    async def _change(self, work: Callable[[Config], None], *, renew: bool = False) -> list[str]:
        done: list[str] = []

        def applied(*, step: Any, **_: Any) -> None:
            done.append(step.up_revision_id)

        with telling(self.folder):
            scripts_of(self.folder)
            told = {"applied": applied, "renew": renew}
            await changing(self.database, lambda connection: work(self._config(connection, **told)))
        self.database.forget_tables()
        return done

    def _config(self, connection: Any, **attributes: Any) -> Config:
        given = {"connection": connection, "tables": self._tables, "folder": self.folder, **attributes}
        config = config_of(self.folder, given)
        config.cmd_opts = Namespace(quiet=True, x=None)
        return config

    def _write(self, connection: Any, message: str, *, empty: bool, first: bool) -> Path | None:
        config = self._config(connection, blank=first, empty=empty, changes_only=not empty)
        with checked(self.folder):
            script: Any = command.revision(config, message, autogenerate=not empty)
        return None if not script else Path(script.path)

    async def _compared(self, blank: bool = False) -> list[Difference]:
        """Of tables alone."""
        return await self._read(lambda connection: self._compare(connection, blank))

    def _triggers(self, connection: Any) -> list[Difference]:
        """Of the tables that are there."""
        there = inspect(connection)
        tables = [one for each in self._tables for one in each.sorted_tables if there.has_table(one.name, one.schema)]
        fix = f"run: uno db {'upgrade' if is_made(self.folder) else 'create'} {self.application}"
        missing = f"missing, disabled, or not those of its class; {fix}"
        unwanted = f'its class does not say __audit__ = "trigger"; {fix}'
        return [
            *(Difference("add_triggers", one.fullname, "", missing) for one in capture.outdated(connection, tables)),
            *(
                Difference("remove_triggers", one.fullname, "", unwanted)
                for one in capture.unwanted(connection, tables)
            ),
        ]

    def _compare(self, connection: Any, blank: bool) -> list[Difference]:
        found: list[Any] = []

        def look(_revision: Any, context: MigrationContext) -> list[Any]:
            operations = produce_migrations(context, context.opts["target_metadata"]).upgrade_ops
            found.extend([] if operations is None else operations.as_diffs())
            return []

        if is_made(self.folder):
            config = self._config(connection, blank=blank)
            scripts = scripts_of(self.folder)
            with EnvironmentContext(config, scripts, fn=look):
                scripts.run_env()
        else:
            told = options(self._tables, None, dialect=connection.dialect.name, blank=blank)
            look(None, MigrationContext.configure(connection, opts=told))
        enums = enum_changes(connection, self._tables, self.folder, blank=blank)
        return [*(one.difference() for one in enums), *differences(found)]


def _current(connection: Any) -> tuple[str, ...]:
    return MigrationContext.configure(connection).get_current_heads()


def _known(scripts: ScriptDirectory, current: Sequence[str]) -> list[Any]:
    """The migrations that a database at `current` has; none where it is at one that is not there."""
    there = {one.revision for one in scripts.walk_revisions()}
    if not current or not there.issuperset(current):
        return []
    return list(scripts.iterate_revisions(tuple(current), "base"))


def _step(script: Any, applied: bool) -> Step:
    down = script.down_revision or ()
    return Step(
        script.revision,
        script.doc or "",
        _listed((down,) if isinstance(down, str) else down),
        applied,
        Path(script.path),
    )


def _listed(revisions: Sequence[str]) -> str:
    return ", ".join(revisions)
