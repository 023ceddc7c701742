"""What the log says of a request that went wrong: each test runs a program and reads its standard error."""

import json
import subprocess
import sys
from typing import Any

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

SHOP = """
import asyncio, json, logging, sys
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from uno.app import App, Module, Route
from uno.bus import command_handler
from uno.errors import Unavailable
from uno.messages import Command
from uno.api import ModuleRouter, asgi
from uno.modules import Event, EventInput, EventOutput, ModuleHost, handles
from uno.security import JWTAuthProvider
from uno.settings import JWTSettings
from uno.telemetry import configure_logging

THE_SAME = KeyError("a constant")

class Crash(Command[None]):
    how: str

@command_handler(Crash)
async def crash(command: Crash) -> None:
    logging.getLogger("shop").info("inside")
    raise {"bug": ValueError("broken"), "away": Unavailable("away"), "same": THE_SAME}[command.how]

class Break(Event[EventInput, EventOutput]):
    name = "things.break"

class Things(Module):
    name = "things"

    @handles(Break)
    def on_break(self, event):
        logging.getLogger("shop").info("inside")
        raise ValueError("broken")

routes = APIRouter()

@routes.get("/plain")
async def plain():
    raise ValueError("broken")

@routes.get("/same")
async def same():
    raise THE_SAME

auth = JWTAuthProvider(settings=JWTSettings(secret_key="k" * 40))
def bearer(subject):
    token = asyncio.run(auth.create_token({"sub": subject}))
    return {"Authorization": f"Bearer {token}"}
ada, ben = bearer("ada"), bearer("ben")

app = App(
    Module("shop", handlers=[crash], routes=[Route(Crash, path="/crash", access="open")]),
    Things(routes=[Break]),
    auth=auth,
)
client = TestClient(asgi(app, routers=[routes]), raise_server_exceptions=False)
def tell(response):
    document = response.json()
    print(json.dumps({"event": "answer", **{k: document.get(k) for k in ("status", "correlation_id", "trace_id")}}))
def post(how, **headers):
    tell(client.post("/crash", json={"how": how}, headers={**ada, **headers}))
configure_logging(json=True)
"""


def ran(program: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of the log, and what the clients were told."""
    done = subprocess.run([sys.executable, "-c", SHOP + program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    return [one for one in lines if one["logger"] != "httpx2"], [json.loads(one) for one in done.stdout.splitlines()]


def where(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line.get(name) for name in ("correlation_id", "actor", "trace_id", "span_id")}


def test_the_line_of_an_error_says_who_and_where_as_lines_inside_the_handler_do() -> None:
    lines, answers = ran(
        "for how in ('bug', 'away'):\n"
        "    post(how)\n"
        "    post(how, **{'X-Correlation-ID': 'order-7'})\n"
        f"    post(how, traceparent={TRACE!r})\n"
    )
    inside, errors = lines[::2], lines[1::2]
    assert [one["event"] for one in errors] == ["unhandled error"] * 3 + ["answered 503: away"] * 3
    assert [where(one) for one in errors] == [where(one) for one in inside]
    for error, answer in zip(errors, answers, strict=True):
        assert error["actor"] == "ada"
        assert (error["correlation_id"], error["trace_id"]) == (answer["correlation_id"], answer["trace_id"])
        assert error["span_id"] not in (None, TRACE[36:52])
        assert not [name for name in error if name.startswith("extra_")]


def test_so_does_the_line_of_an_event() -> None:
    lines, [answer] = ran("tell(client.post('/things/break', json={}, headers=ada))")
    inside, error = lines[0], lines[-1]
    assert (error["event"], answer["status"]) == ("unhandled error", 500)
    assert where(error) == where(inside)
    assert error["actor"] == "ada"


def test_the_bug_of_a_route_that_sends_no_message_has_its_actor_and_its_trace_too() -> None:
    [error], [answer] = ran("tell(client.get('/plain', headers=ada))")
    assert (error["event"], error["actor"]) == ("unhandled error", "ada")
    assert error["trace_id"] == answer["trace_id"] == error["correlation_id"]


def test_an_error_that_is_raised_again_is_not_taken_for_the_first() -> None:
    """Even where a client repeats the correlation id of another."""
    lines, _ = ran(
        "same = {'X-Correlation-ID': 'order-7'}\n"
        "post('same', **same)\n"
        "tell(client.get('/same', headers={**ben, **same}))\n"
    )
    errors = [line for line in lines if line["event"] == "unhandled error"]
    assert [line["actor"] for line in errors] == ["ada", "ben"]


def test_the_line_of_a_refused_token_has_its_trace() -> None:
    [line], [answer] = ran("tell(client.get('/nothing', headers={'Authorization': 'Bearer nonsense'}))")
    assert line["signal"] == "auth.token_refused"
    assert (line["correlation_id"], line["trace_id"]) == (answer["correlation_id"], answer["trace_id"])


MOUNTED = """
host = ModuleHost()
host.register(Things())
outer = FastAPI()
ModuleRouter(host).register_event(Break).mount(outer)
client = TestClient(outer, raise_server_exceptions=False)
"""


def test_a_bug_behind_a_plain_application_has_a_correlation_id_in_line_and_answer() -> None:
    lines, [answer] = ran(MOUNTED + "tell(client.post('/things/break', json={}))")
    [error] = [line for line in lines if line["event"] == "unhandled error"]
    assert answer["correlation_id"] == error["correlation_id"] == answer["trace_id"]
    assert answer["status"] == 500


def test_so_it_has_where_the_logs_are_not_written_by_uno() -> None:
    program = (
        "handler = logging.StreamHandler()\n"
        'handler.setFormatter(logging.Formatter(\'{"logger": "%(name)s", "id": "%(correlation_id)s"}\','
        " defaults={'correlation_id': None}))\n"
        "handler.formatter.formatException = lambda info: ''\n"
        "configure_logging('ERROR', handler=handler)\n"
    )
    lines, [answer] = ran(MOUNTED + program + "tell(client.post('/things/break', json={}))")
    [error] = [line for line in lines if line["logger"] == "uno.api"]
    assert error["id"] == answer["correlation_id"]
