"""How the inventory is stored: one aggregate that knows nothing of it, and one declared table."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Column, ColumnElement, Enum, Table, Text, cast
from sqlalchemy.orm import Mapped, mapped_column

from uno.data import Model, UtcDateTime, UUIDMixin
from uno.data.tables import json_type
from uno.examples.inventory.licences import LicenceClass
from uno.examples.inventory.packages import Package, Status


def _choice(choices: type[StrEnum]) -> Enum:
    """A text column that holds the values of an enumeration."""
    return Enum(choices, native_enum=False, length=40, values_callable=lambda _: [str(one) for one in choices])


packages = Table(
    "packages",
    Model.metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("requires", json_type, nullable=False),
    Column("declared_licence", Text, nullable=False),
    Column("licence", _choice(LicenceClass), index=True),
    Column("status", _choice(Status), nullable=False, index=True),
    Column("decided_by", Text),
    Column("reason", Text),
    Column("note", Text),
    Column("discovered_at", UtcDateTime, nullable=False),
    Column("version", BigInteger, nullable=False),
)

Model.registry.map_imperatively(Package, packages, version_id_col=packages.c.version)


class LicenceCheck(UUIDMixin, Model):
    """A log line: the licence of a release was classified. Nothing keeps it from being written twice but uno."""

    __tablename__ = "licence_checks"

    package_id: Mapped[str] = mapped_column(Text, index=True)
    release: Mapped[str] = mapped_column(Text)
    licence: Mapped[LicenceClass] = mapped_column(_choice(LicenceClass))
    checked_at: Mapped[datetime]


def requiring(package_id: str) -> ColumnElement[bool]:
    """The packages that require `package_id`. The list of ids is searched as text, which every database can."""
    return cast(packages.c.requires, Text).contains(f'"{package_id}"', autoescape=True)
