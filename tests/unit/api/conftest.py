"""A small application for the tests of HTTP: users in memory."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import Field

from uno.api import asgi
from uno.app import App, Module, Route
from uno.bus import command_handler, query_handler
from uno.domain import AggregateRoot
from uno.errors import (
    Conflict,
    Forbidden,
    Invalid,
    Misconfigured,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    TimedOut,
    Unauthenticated,
    Unavailable,
    UnoError,
    VersionConflict,
)
from uno.messages import Command, Query
from uno.result import Failure
from uno.settings import ApiSettings, Settings


class User(AggregateRoot[str]):
    def __init__(self, id: str, email: str, age: int, password: str = "") -> None:
        super().__init__(id=id)
        self.email = email
        self.age = age
        self._password = password


class CreateUser(Command[User]):
    """Make a user."""

    email: str = Field(min_length=3, examples=["ada@example.org"])
    age: int = Field(ge=0, le=150)


class GetUser(Query[User]):
    user_id: str


class ListUsers(Query[list[User]]):
    limit: int = Field(10, ge=1, le=100)
    ages: list[int] = Field([], max_length=10)
    prefix: str | None = None


class UpdateUser(Command[User]):
    user_id: str
    email: str
    age: int


class DeleteUser(Command[None]):
    user_id: str


class GreetUser(Command[None]):
    user_id: str
    words: str = "hello"


class Fail(Command[None]):
    how: str


ERRORS: dict[str, Callable[[], Exception]] = {
    "invalid": lambda: Invalid.field("email", "is taken", "taken"),
    "conflict": lambda: Conflict("The name is taken."),
    "version": lambda: VersionConflict("User", ["1"]),
    "unauthenticated": lambda: Unauthenticated("Log in first."),
    "forbidden": lambda: Forbidden("Not yours."),
    "limited": lambda: RateLimited(retry_after=2.2),
    "unavailable": lambda: Unavailable("The database does not answer.", retry_after=0.1),
    "unknown": lambda: OutcomeUnknown("The connection was lost."),
    "late": lambda: TimedOut("Too long."),
    "refused": lambda: UnoError("No."),
    "bug": lambda: RuntimeError("password=hunter2"),
    "misconfigured": lambda: Misconfigured("the secret is hunter2"),
}


def make_module() -> Module:
    users: dict[str, User] = {}

    @command_handler(CreateUser)
    async def create(command: CreateUser) -> User:
        user = User(str(len(users) + 1), command.email, command.age, "hunter2")
        users[user.id] = user
        return user

    @query_handler(GetUser)
    async def get(query: GetUser) -> User:
        if query.user_id not in users:
            raise NotFound("User", query.user_id)
        return users[query.user_id]

    @query_handler(ListUsers)
    async def list_users(query: ListUsers) -> list[User]:
        found = [u for u in users.values() if not query.ages or u.age in query.ages]
        return [u for u in found if u.email.startswith(query.prefix or "")][: query.limit]

    @command_handler(UpdateUser)
    async def update(command: UpdateUser) -> User:
        user = await get(GetUser(user_id=command.user_id))
        assert isinstance(user, User)
        user.email, user.age = command.email, command.age
        return user

    @command_handler(DeleteUser)
    async def delete(command: DeleteUser) -> None:
        if users.pop(command.user_id, None) is None:
            raise NotFound("User", command.user_id)

    @command_handler(GreetUser)
    async def greet(command: GreetUser) -> None:
        await get(GetUser(user_id=command.user_id))

    @command_handler(Fail)
    async def fail(command: Fail) -> Any:
        if command.how.startswith("as-result-"):
            return Failure(ERRORS[command.how.removeprefix("as-result-")]())
        raise ERRORS[command.how]()

    return Module(
        "users",
        handlers=[create, get, list_users, update, delete, greet, fail],
        routes=[CreateUser, GetUser, ListUsers, UpdateUser, DeleteUser, GreetUser, Route(Fail, path="/fail")],
    )


@pytest.fixture
def settings() -> Settings:
    return Settings(api=ApiSettings(max_body_bytes=2000))


@pytest.fixture
def app(settings: Settings) -> App:
    return App(make_module(), settings=settings)


@pytest.fixture
def client(app: App) -> Iterator[TestClient]:
    with TestClient(asgi(app), raise_server_exceptions=False) as client:
        yield client
