"""`BaseRepository`, which takes the sessions first."""

from typing import Any, TypeVar

from uno.data import Repository
from uno.data.alone import SessionFactory

T = TypeVar("T")


class BaseRepository(Repository[T]):
    """`BaseRepository(session_factory, User)`: a `Repository` that works alone, each call commits."""

    def __init__(self, session_factory: SessionFactory, model: type[T]) -> None:
        super().__init__(model, session_factory=session_factory)

    async def find_many(
        self, *, offset: int = 0, limit: int = 100, include_deleted: bool = False, **equal: Any
    ) -> list[T]:
        """`find`, a stretch of it."""
        return await self.find(offset=offset, limit=limit, include_deleted=include_deleted, **equal)
