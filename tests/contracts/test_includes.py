"""Related objects that are read together with those that refer to them."""

import pytest
from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.contracts.conftest import Fresh
from tests.contracts.statements import statements_of

from uno.data import Database, Model, Repository, UnitOfWork
from uno.errors import Invalid


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Author(Base):
    __tablename__ = "include_authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    books: Mapped[list["Tome"]] = relationship(viewonly=True, order_by="Tome.title", back_populates="author")


class Tome(Base):
    __tablename__ = "include_books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int | None] = mapped_column(ForeignKey("include_authors.id"))
    sequel_id: Mapped[int | None] = mapped_column(ForeignKey("include_books.id"))
    author: Mapped[Author | None] = relationship(viewonly=True, back_populates="books")
    sequel: Mapped["Tome | None"] = relationship(viewonly=True, remote_side=[id])
    tags: Mapped[list["Tag"]] = relationship(viewonly=True, secondary="include_tagged", order_by="Tag.name")


class Tag(Base):
    __tablename__ = "include_tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Tagged(Base):
    __tablename__ = "include_tagged"
    book_id: Mapped[int] = mapped_column(ForeignKey("include_books.id"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("include_tags.id"), primary_key=True)


class Chapter(Base):
    """Written through its relationship, so the session's."""

    __tablename__ = "include_chapters"
    id: Mapped[int] = mapped_column(primary_key=True)
    book_id: Mapped[int] = mapped_column(ForeignKey("include_books.id"))
    book: Mapped[Tome] = relationship()


@pytest.fixture(params=["auto", "session"])
async def database(fresh: Fresh, backend: str, request: pytest.FixtureRequest) -> Database:
    made = await fresh(backend, Base.metadata, commit=request.param)
    async with UnitOfWork(made) as uow:
        for one in (Author(id=1, name="Ann"), Author(id=2, name="Bob"), Tag(id=1, name="x"), Tag(id=2, name="a")):
            await uow.repository(type(one)).add(one)
        await uow.flush()
        for id, author in ((12, 1), (11, 1), (10, None)):
            await uow.repository(Tome).add(
                Tome(id=id, title=f"b{id}", author_id=author, sequel_id=12 if id < 12 else None)
            )
        await uow.flush()
        for book, tag in ((12, 1), (12, 2), (10, 2)):
            await uow.repository(Tagged).add(Tagged(book_id=book, tag_id=tag))
        await uow.repository(Chapter).add(Chapter(id=1, book_id=10))
    return made


async def test_one_and_many_and_none(database: Database) -> None:
    async with UnitOfWork(database):
        books = await Repository(Tome).find(sort="id", include=["author", "tags"])
        assert [one.author and one.author.name for one in books] == [None, "Ann", "Ann"]
        assert books[1].author is books[2].author
        assert [[tag.name for tag in one.tags] for one in books] == [["a"], [], ["a", "x"]]
    async with UnitOfWork(database):
        ann, bob = await Repository(Author).find(sort="id", include=["books"])
        assert ([one.title for one in ann.books], bob.books) == (["b11", "b12"], [])


async def test_with_get_and_page(database: Database) -> None:
    async with UnitOfWork(database):
        assert (await Repository(Author).get(1, include=["books"])).books[0].title == "b11"
        assert await Repository(Author).get_by_id(9, include=["books"]) is None
        page = await Repository(Tome).page(limit=2, include=["author"])
        assert [one.author and one.author.name for one in page.items] == [None, "Ann"]


async def test_objects_of_ones_own_table_and_of_the_session(database: Database) -> None:
    async with UnitOfWork(database):
        found = await Repository(Tome).find(sort="id", include=["sequel", "author"])
        assert [one.sequel and one.sequel.id for one in found] == [12, 12, None]
    async with UnitOfWork(database):
        assert (await Repository(Chapter).get(1, include=["book"])).book.title == "b10"


async def test_what_was_changed_before_is_seen(database: Database) -> None:
    async with UnitOfWork(database):
        ann = await Repository(Author).get(1)
        ann.name = "Anna"
        (await Repository(Tome).get(10)).author_id = 1
        again = await Repository(Author).get(1, include=["books"])
        assert again is ann
        assert [one.id for one in again.books] == [10, 11, 12]
        assert again.books[0].author_id == 1


async def test_the_number_of_queries_is_that_of_the_relationships(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = statements_of(database, monkeypatch)
    async with UnitOfWork(database):
        await Repository(Tome).find(include=["author", "tags"])
    assert len([one for one in seen if one.startswith("SELECT include")]) == 3, seen


@pytest.mark.parametrize("name", ["autor", "title", "author.books", "__class__"])
async def test_another_name_is_refused(database: Database, name: str) -> None:
    async with UnitOfWork(database):
        with pytest.raises(Invalid, match="Tome has no relationship of this name; it has author, sequel, tags"):
            await Repository(Tome).find(include=[name])
        with pytest.raises(Invalid, match="no relationship"):
            await Repository(Tome).get(10, include=[name])
