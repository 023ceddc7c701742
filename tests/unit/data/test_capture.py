"""Which tables PostgreSQL can write down the changes of, and the names it finds there."""

from datetime import datetime
from typing import Any, ClassVar

import pytest
from sqlalchemy import Column, DateTime, Enum, Integer, MetaData, String, Table, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

from uno.data import Model
from uno.data.capture import by_trigger, captured, triggers
from uno.errors import Misconfigured


class Base(Model):
    __abstract__ = True
    __audit__ = "trigger"
    metadata: ClassVar[MetaData] = MetaData()


class Shout(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value.upper()


class OddKey(Base):
    __tablename__ = "odd_key"
    at: Mapped[datetime] = mapped_column(DateTime, primary_key=True)


class OddType(Base):
    __tablename__ = "odd_type"
    id: Mapped[int] = mapped_column(primary_key=True)
    loud: Mapped[str] = mapped_column(Shout)


class RedactedType(Base):
    __tablename__ = "redacted_type"
    id: Mapped[int] = mapped_column(primary_key=True)
    loud: Mapped[str] = mapped_column(Shout, info={"audit": "redact"})


class Animal(Base):
    __tablename__ = "captured_animals"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __mapper_args__: ClassVar[dict[str, Any]] = {"polymorphic_identity": "dog"}


class Nothing(Base):
    __tablename__ = "nothing_shown"
    id: Mapped[int] = mapped_column(primary_key=True, info={"audit": False})


def table_of(cls: Any) -> Table:
    found: Table = cls.__table__
    return found


def test_a_class_says_that_it_wants_triggers_and_its_base_may_say_it_for_all() -> None:
    class Plain(Model):
        __tablename__ = "plainly_audited"
        metadata = MetaData()
        id: Mapped[int] = mapped_column(primary_key=True)

    assert captured([table_of(OddKey), table_of(Plain)]) == [table_of(OddKey)]


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (OddKey, "OddKey has a key of the type DateTime.*let the unit of work write down its changes"),
        (OddType, "OddType.loud is of a type that SQL cannot write down as JSON"),
        (Animal, "Animal is not the one class of the table captured_animals"),
        (Nothing, "Of Nothing nothing is to be written down; say `__audit__ = False`"),
    ],
)
def test_what_triggers_would_write_otherwise_is_refused(cls: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        triggers(table_of(cls))


def test_a_value_that_is_not_shown_needs_no_form_in_sql() -> None:
    assert "THEN ''***''::text END" in triggers(table_of(RedactedType))[0]


def test_classes_of_another_base_and_mapped_ones_are_decorated() -> None:
    class Other(DeclarativeBase):
        metadata = MetaData()

    @by_trigger
    class Hero(Other):
        __tablename__ = "Hero's"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Plain:
        pass

    mapped = Table("plain", MetaData(schema="Old"), Column("id", Integer, primary_key=True))
    registry().map_imperatively(Plain, mapped)
    assert by_trigger(by_trigger(Plain)) is Plain
    assert 'ON public."Hero\'s" REFERENCING' in triggers(table_of(Hero))[2]
    assert triggers(mapped, schema="app")[0].startswith('CREATE OR REPLACE FUNCTION "Old".uno_audit_plain()')
    assert "INSERT INTO app.uno_audit" in triggers(mapped, schema="app")[0]


def test_names_stay_in_the_limits_of_postgresql_and_literals_inside_their_quotes() -> None:
    class Choice(Base):
        __tablename__ = "t" * 60
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column("it's", Enum("don't", name="choice"))

    function, *_ = triggers(table_of(Choice))
    name = function.split("public.", 1)[1].split("(", 1)[0]
    assert name.startswith("uno_audit_")
    assert len(name) <= 63
    assert "''kind''::text, CAST(n.\"it''s\" AS TEXT)" in function
    assert function.count("'") % 2 == 0
