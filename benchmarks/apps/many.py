"""300 routes, in uno and in plain FastAPI: the same paths, parameters and results."""

from types import new_class
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel

from uno.app import App, Module, Route
from uno.bus import query_handler
from uno.messages import Query
from uno.settings import Settings

COUNT = 300


class Thing(BaseModel):
    thing_id: UUID
    text: str


def path(number: int) -> str:
    return f"/things-{number}/{{thing_id}}"


def _query(number: int) -> Any:
    fields = {"__module__": __name__, "__annotations__": {"thing_id": UUID, "text": str}}
    message: Any = new_class(f"GetThing{number}", (Query[Thing],), exec_body=lambda body: body.update(fields))

    @query_handler(message)
    async def handle(message: Any) -> Thing:
        return Thing(thing_id=message.thing_id, text=message.text)

    handle.__qualname__ = f"handle_{number}"
    return message, handle


def definitions() -> list[tuple[Any, Any]]:
    """The messages and their handlers."""
    return [_query(number) for number in range(COUNT)]


def uno_app(defined: list[tuple[Any, Any]], *, routes: bool = True) -> App:
    found = [Route(message, path=path(n), method="GET") for n, (message, _) in enumerate(defined)]
    handlers = [handler for _, handler in defined]
    return App(Module("many", handlers=handlers, routes=found if routes else []), settings=Settings())


def functions() -> list[Any]:
    return [_function(number) for number in range(COUNT)]


def _function(number: int) -> Any:
    async def handle(thing_id: UUID, text: str) -> Thing:
        return Thing(thing_id=thing_id, text=text)

    handle.__name__ = f"get_thing_{number}"
    return handle


def fastapi_app(defined: list[Any]) -> FastAPI:
    app = FastAPI()
    for number, function in enumerate(defined):
        app.get(path(number))(function)
    return app
