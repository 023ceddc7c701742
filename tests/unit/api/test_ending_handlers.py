"""What would end the server is a bug of the handler that raised it; who asks for the end gets it."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from uno.api import ModuleRouter, asgi
from uno.app import App
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, handles


@dataclass
class Input(EventInput):
    pass


class ExitThings(Event[Input, EventOutput]):
    pass


class LeaveThings(Event[Input, EventOutput]):
    pass


class CancelThings(Event[Input, EventOutput]):
    pass


class InterruptThings(Event[Input, EventOutput]):
    pass


class WaitThings(Event[Input, EventOutput]):
    pass


class Things(Module):
    routes = (ExitThings, LeaveThings, CancelThings, InterruptThings, WaitThings)

    def __init__(self) -> None:
        self.waiting = asyncio.Event()

    @handles(ExitThings)
    def exit(self, _: Input) -> EventOutput:
        sys.exit(3)

    @handles(LeaveThings)
    async def leave(self, _: Input) -> EventOutput:
        raise SystemExit

    @handles(CancelThings)
    async def cancel(self, _: Input) -> EventOutput:
        other = asyncio.ensure_future(asyncio.sleep(60))
        other.cancel()
        await other
        return EventOutput()

    @handles(InterruptThings)
    async def interrupt(self, _: Input) -> EventOutput:
        raise KeyboardInterrupt

    @handles(WaitThings)
    async def wait(self, _: Input) -> EventOutput:
        self.waiting.set()
        await asyncio.sleep(60)
        return EventOutput()


def in_an_app(things: Things) -> FastAPI:
    return asgi(App(things))


def by_a_router(things: Things) -> FastAPI:
    api, router = FastAPI(), ModuleRouter(ModuleHost().register(things))
    for event in things.routes:
        router.register_event(event)
    router.mount(api)
    return api


Made = Callable[[Things], FastAPI]
both = pytest.mark.parametrize("made", [in_an_app, by_a_router])


@both
@pytest.mark.parametrize("path", ["exit", "leave", "cancel"])
def test_a_handler_that_ends_itself_is_a_bug(made: Made, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(made(Things()), raise_server_exceptions=False) as client:
        response = client.post(f"/things/{path}", json={})
        again = client.post(f"/things/{path}", json={})
    assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
    assert again.status_code == 500
    logged = [one for one in caplog.records if one.name == "uno.api" and one.exc_info]
    assert len(logged) == 2


async def posted(api: FastAPI, path: str) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(_: Any) -> None:
        pass

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    await api(scope, receive, send)


@both
async def test_a_request_that_is_cancelled_is_cancelled(made: Made) -> None:
    things = Things()
    api = made(things)
    async with api.router.lifespan_context(api):
        task = asyncio.ensure_future(posted(api, "/things/wait"))
        await asyncio.wait_for(things.waiting.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@both
async def test_an_interrupt_is_not_kept_back(made: Made) -> None:
    api = made(Things())
    async with api.router.lifespan_context(api):
        with pytest.raises(KeyboardInterrupt):
            await posted(api, "/things/interrupt")
