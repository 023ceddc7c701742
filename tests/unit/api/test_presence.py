"""Clients that go away, streams that have to end, connections that are not to be used again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from uno.api import presence
from uno.api.presence import Attended, Presence

SCOPE: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"x")]}
WITH_EMPTY_BODY: Scope = {**SCOPE, "method": "POST", "headers": [(b"content-length", b"0")]}
WITH_BODY: Scope = {**SCOPE, "method": "POST", "headers": [(b"content-length", b"3")]}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}
REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}
GONE: Message = {"type": "http.disconnect"}


class Client:
    """What a server gives an application: messages to receive, and what was sent."""

    def __init__(self, *messages: Message) -> None:
        self.coming: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        for message in messages:
            self.coming.put_nowait(message)

    async def receive(self) -> Message:
        return await self.coming.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def goes(self) -> None:
        self.coming.put_nowait(GONE)


Ask = Callable[..., "asyncio.Task[None]"]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK", 0.001)


@pytest.fixture
async def attended() -> AsyncIterator[tuple[Presence, Ask]]:
    """`ask(app, client)` is the task in which `app` answers."""
    there = Presence()
    tasks: list[asyncio.Task[None]] = []

    def ask(app: Any, client: Client, scope: Scope = SCOPE) -> "asyncio.Task[None]":
        async def answer() -> None:
            await Attended(app, there)(scope, client.receive, client.send)
            current = asyncio.current_task()
            assert current is not None
            assert current.cancelling() == 0

        tasks.append(asyncio.create_task(answer()))
        return tasks[-1]

    yield there, ask
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert there.open == {}


async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
    await asyncio.Event().wait()


async def reading(_scope: Scope, receive: Receive, _send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await asyncio.Event().wait()


@pytest.mark.parametrize("scope", [SCOPE, WITH_EMPTY_BODY])
@pytest.mark.parametrize("messages", [(), (REQUEST,)])
async def test_a_client_that_goes_away_cancels_its_handler(
    attended: tuple[Presence, Ask], messages: tuple[Message, ...], scope: Scope
) -> None:
    client = Client(*messages)
    answering = attended[1](never, client, scope)
    await asyncio.sleep(0.01)
    assert not answering.done()
    client.goes()
    await answering
    assert client.sent == []


async def test_it_is_noticed_once_the_body_was_read(attended: tuple[Presence, Ask]) -> None:
    client = Client({**REQUEST, "more_body": True}, REQUEST)
    answering = attended[1](reading, client, WITH_BODY)
    client.goes()
    await answering


@pytest.mark.parametrize("scope", [WITH_BODY, {**WITH_BODY, "headers": [(b"transfer-encoding", b"chunked")]}])
async def test_a_body_that_nobody_has_read_stays_for_the_application(
    attended: tuple[Presence, Ask], scope: Scope
) -> None:
    body: list[Message] = [{**REQUEST, "body": b"ab", "more_body": True}, {**REQUEST, "body": b"c"}]
    client, go_on = Client(*body), asyncio.Event()
    got: list[Message] = []

    async def late(_scope: Scope, receive: Receive, _send: Send) -> None:
        await go_on.wait()
        got.extend([await receive(), await receive()])

    answering = attended[1](late, client, scope)
    await asyncio.sleep(0.01)
    go_on.set()
    await answering
    assert got == body


async def test_who_asks_late_gets_the_empty_body_and_then_that_the_client_is_gone(
    attended: tuple[Presence, Ask],
) -> None:
    client, go_on = Client(REQUEST), asyncio.Event()
    got: list[Message] = []

    async def late(_scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        got.append(await receive())
        await send(START)
        await send(END)
        got.append(await receive())

    answering = attended[1](late, client)
    await asyncio.sleep(0.01)
    go_on.set()
    await asyncio.sleep(0.01)
    client.goes()
    await answering
    assert got == [REQUEST, GONE]


async def test_what_runs_after_the_answer_is_not_cancelled(attended: tuple[Presence, Ask]) -> None:
    client, go_on = Client(REQUEST), asyncio.Event()
    done: list[str] = []

    async def background(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(END)
        await go_on.wait()
        done.append("afterwards")

    answering = attended[1](background, client)
    client.goes()
    await asyncio.sleep(0.01)
    assert not answering.done()
    go_on.set()
    await answering
    assert done == ["afterwards"]


async def test_somebody_elses_cancellation_goes_through(attended: tuple[Presence, Ask]) -> None:
    client = Client()
    answering = attended[1](never, client)
    await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering


async def test_with_both_at_once_the_other_ones_goes_through(attended: tuple[Presence, Ask]) -> None:
    client = Client()

    async def slow(_scope: Scope, _receive: Receive, _send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            answering.cancel()

    answering = attended[1](slow, client)
    client.goes()
    with pytest.raises(asyncio.CancelledError):
        await answering


async def test_a_handler_that_swallows_it_leaves_no_trace(attended: tuple[Presence, Ask]) -> None:
    client = Client()

    async def stubborn(_scope: Scope, _receive: Receive, _send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    answering = attended[1](stubborn, client)
    client.goes()
    await answering


async def test_streams_of_events_end_properly_and_others_go_on(attended: tuple[Presence, Ask]) -> None:
    there, ask = attended
    clients = {kind: Client() for kind in (b"text/event-stream; charset=utf-8", b"text/csv")}

    def stream(kind: bytes) -> Any:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({**START, "headers": [(b"content-type", kind)]})
            await send({**END, "body": b"data: 1\n\n", "more_body": True})
            await asyncio.Event().wait()

        return app

    answering = {kind: ask(stream(kind), client) for kind, client in clients.items()}
    await asyncio.sleep(0)
    there.end_streams()
    events, table = answering.values()
    await events
    assert clients[b"text/event-stream; charset=utf-8"].sent[-1] == END
    assert not table.done()


async def test_while_it_stops_every_answer_closes_its_connection(attended: tuple[Presence, Ask]) -> None:
    there, ask = attended
    client = Client(REQUEST)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({**START})
        await send(END)

    there.closing = True
    await ask(app, client)
    assert client.sent[0]["headers"] == [(b"connection", b"close")]


async def test_cut_off_before_it_answers_it_says_503(attended: tuple[Presence, Ask]) -> None:
    there, ask = attended
    client = Client()
    answering = ask(never, client)
    await asyncio.sleep(0)
    there.closing = True
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert client.sent[0]["status"] == 503
