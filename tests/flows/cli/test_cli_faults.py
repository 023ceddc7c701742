"""What goes wrong is one sentence on standard error and an exit code; a bug keeps its traceback."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOBODY = "postgresql://ann:sesame@127.0.0.1:1/shop"


def sentence(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one line it complained."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("uno: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("uno: ").rstrip()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", ["run", "worker"])
def test_an_unknown_module_is_named(uno: Any, command: str) -> None:
    assert sentence(uno(command, "nowhere.shop:app")).startswith("There is no module 'nowhere' here; ")


def test_an_attribute_that_is_not_there_is_named(uno: Any, shop: str) -> None:
    assert sentence(uno("routes", "shop:api")) == "shop:api is not there: shop has no api."


def test_something_that_is_no_application_is_named(uno: Any, shop: str) -> None:
    assert sentence(uno("routes", "shop:SHIP")) == "shop:SHIP is not there: shop has no SHIP."
    told = "shop:shop is no App but a Module; point to what App(...) gave you."
    assert sentence(uno("routes", "shop:shop")) == told


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name' (*, line 1)"),
        ("x = 1\nraise RuntimeError('no licence')", "RuntimeError: no licence (*, line 2)"),
        ("def f(:\n", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ("import sys; sys.exit(3)", "SystemExit: 3 (*, line 1)"),
    ],
)
def test_a_broken_application_module_is_one_sentence(uno: Any, tmp_path: Path, code: str, told: str) -> None:
    (tmp_path / "broken.py").write_text(code)
    expected = f"The module broken cannot be imported: {told}".replace("*", str(tmp_path / "broken.py"))
    assert sentence(uno("run", "broken:app")) == expected


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("error", ["ValueError", "Misconfigured"])
def test_no_error_of_an_application_shows_a_password_or_steers_the_terminal(
    uno: Any, tmp_path: Path, command: str, error: str
) -> None:
    code = f"from uno.errors import Misconfigured\nraise {error}('postgresql://u:s3cret@h/d\\x1b[31mforged')"
    (tmp_path / "broken.py").write_text(code)
    assert "postgresql://u:***@h/d\\x1b[31mforged" in sentence(uno(command, "broken:app"))


@pytest.mark.parametrize("how", ["option", "variable"])
def test_where_an_error_comes_from_is_shown_when_asked(uno: Any, tmp_path: Path, how: str) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no licence')")
    arguments = ["--traceback", "run", "broken:app"] if how == "option" else ["run", "broken:app"]
    done = uno(*arguments, **({} if how == "option" else {"UNO_DEBUG": "1"}))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: no licence" in done.stderr


@pytest.mark.parametrize("reference", ["shop", "shop:", "shop/main.py:app", "shop:app()", ""])
def test_a_reference_of_another_form_is_a_usage_error(uno: Any, reference: str) -> None:
    done = uno("run", reference)
    assert done.returncode == 2
    assert "package.module:attribute" in done.stderr


def test_all_problems_of_an_application_are_listed(uno: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("""
from typing import Protocol
from uno.app import App, Module, Route
from uno.bus import command_handler
from uno.messages import Command

class Mailer(Protocol): ...
class CreateOrder(Command[None]): ...
class PlaceOrder(Command[None]): ...

@command_handler(CreateOrder)
async def create(command: CreateOrder) -> None: ...
@command_handler(CreateOrder)
async def create_too(command: CreateOrder) -> None: ...
@command_handler(PlaceOrder)
async def place(command: PlaceOrder, mailer: Mailer) -> None: ...

routes = [CreateOrder, Route(PlaceOrder, path="/orders")]
app = App(Module("orders", handlers=[create, create_too, place], routes=routes))
""")
    done = uno("run", "broken:app")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "uno: The application cannot start: 3 problems.",
        "1. duplicate handler: CreateOrder",
        "   CreateOrder has 2 handlers: broken.create, broken.create_too; keep one.",
        "2. missing provider: Mailer",
        "   place needs it as `mailer` and nothing provides it: mark a class or a factory for it with "
        "@singleton, @scoped or @transient, or pass value(…, Mailer).",
        "   place → Mailer",
        "3. route clash: POST /orders",
        "   CreateOrder and PlaceOrder have the same path; give one a path= of its own.",
    ]


@pytest.mark.parametrize("command", [["run", "--port", "0"], ["worker"]])
def test_a_database_that_is_down_is_one_line_without_its_password(uno: Any, shop: str, command: list[str]) -> None:
    told = sentence(uno(*command, shop, UNO_DB_URL=NOBODY))
    assert told == "The database cannot be reached. It is postgresql://***@127.0.0.1:1/shop."


BROKER = """
from uno import App, Module
from uno.aio import ConnectionPool, get_resource_registry

async def connect():
    raise ConnectionError("refused by rabbit:5672")

class Shop(Module):
    async def on_load(self):
        await get_resource_registry().register("broker", ConnectionPool("broker", connect, min_size=1))

app = App(Shop("shop"), database="sqlite:///:memory:")
"""


@pytest.mark.parametrize("command", [["run", "--port", "0"], ["worker"]])
def test_what_somebody_else_cannot_reach_is_not_said_of_the_database(
    uno: Any, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "broken.py").write_text(BROKER)
    done = uno(*command, "broken:app")
    assert done.returncode == 1
    told = (
        "uno: The resource 'broker' could not start: The pool 'broker' cannot open a connection: refused by rabbit:5672"
    )
    assert done.stderr.splitlines()[-1] == told


@pytest.mark.parametrize("command", [["dead", "list"], ["db", "create"]])
def test_other_commands_name_a_database_that_is_down_too(uno: Any, command: list[str]) -> None:
    assert "postgresql://***@127.0.0.1:1/shop" in sentence(uno(*command, UNO_DB_URL=NOBODY))


@pytest.mark.parametrize("command", [["run", "shop:app"], ["worker", "shop:app"], ["db", "create"], ["dead", "list"]])
def test_of_a_url_that_cannot_be_understood_nothing_is_shown(uno: Any, shop: str, command: list[str]) -> None:
    done = uno(*command, UNO_DB_URL="postgresql://zoe:se@same@127.0.0.1:1/shop")
    assert done.returncode == 1
    assert done.stderr.startswith("uno: ")
    assert "The database URL is ambiguous" in done.stderr
    assert not any(part in done.stderr for part in ("zoe", "same", "127.0.0.1", "Traceback"))


@pytest.mark.parametrize("command", [["run", "shop:app"], ["worker", "shop:app"], ["db", "create"], ["dead", "list"]])
def test_a_file_that_is_no_database_is_one_sentence(uno: Any, shop: str, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "list.db").write_text("bread, milk, butter" * 100)
    told = "The database file cannot be used: file is not a database. It is sqlite:///list.db."
    assert sentence(uno(*command, UNO_DB_URL="sqlite:///list.db", UNO_API_PORT="0")) == told


@pytest.mark.parametrize("command", [["run", "--port", "0"], ["worker"]])
def test_a_database_without_tables_names_the_command_that_creates_them(
    uno: Any, shop: str, url: str, command: list[str]
) -> None:
    told = sentence(uno(*command, shop, UNO_DB_URL=url))
    assert told == "The database has none of uno's tables; create them with: uno db create PACKAGE:APP"


def test_without_a_terminal_a_database_has_to_be_named(uno: Any, shop: str) -> None:
    done = uno("run", shop)
    assert done.returncode == 1
    assert "set UNO_DB_URL" in done.stderr
    assert sentence(uno("dead", "list")) == "Which database? Set UNO_DB_URL, or name the application."


def test_a_taken_port_is_one_sentence(uno: Any, shop: str, taken: int) -> None:
    told = f"Cannot listen on 127.0.0.1:{taken}: Address already in use; choose another port."
    assert sentence(uno("run", shop, "--port", taken, UNO_DB_URL="sqlite:///shop.db")) == told
    assert sentence(uno("run", shop, UNO_API_PORT=str(taken), UNO_DB_URL="sqlite:///shop.db")) == told


def test_nobody_is_let_in_from_outside_without_saying_so(uno: Any, shop: str) -> None:
    told = sentence(uno("run", shop, "--host", "0.0.0.0", UNO_DB_URL="sqlite:///shop.db"))
    assert told.startswith("Nobody who calls is authenticated, so uno does not listen on 0.0.0.0; with --open ")


def test_a_wrong_setting_is_named(uno: Any, shop: str) -> None:
    told = sentence(uno("run", shop, UNO_API_PORT="many", UNO_DB_URL="sqlite:///shop.db"))
    assert told.startswith("The settings are not valid: UNO_API_PORT: ")


@pytest.mark.parametrize("command", [["demo"], ["demo", "--check"], ["db", "start"]])
def test_a_data_folder_that_cannot_be_used_is_one_sentence(uno: Any, tmp_path: Path, command: list[str]) -> None:
    # A file in the way stops even root.
    (tmp_path / "file").write_text("")
    done = uno(*command, "--data-dir", tmp_path / "file" / "data")
    assert done.returncode == 1
    told = f"uno: Embedded PostgreSQL cannot use {tmp_path}/file/data: Not a directory"
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1


def test_a_bug_keeps_its_traceback(uno: Any, tmp_path: Path, shop: str) -> None:
    (tmp_path / "buggy.py").write_text("""
from uno.app import App, Module

class Buggy(Module):
    async def on_load(self):
        raise RuntimeError("this is a bug")

app = App(Buggy())
""")
    for command in (["run", "--port", "0"], ["worker"]):
        done = uno(*command, "buggy:app")
        assert done.returncode == 1
    done = uno("run", "--port", "0", "buggy:app")
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("RuntimeError: this is a bug\n")


@pytest.mark.parametrize("command", [["run", "--port", "0"], ["worker"]])
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("resource", "The resource 'broker' could not start: ConnectionError: no broker at 10.0.0.1 (*, line 8)."),
        ("pool", "The resource 'broker' could not start: The pool 'broker' cannot open a connection: no"),
        ("hook", "The startup hook fail failed: ConnectionError: no broker at 10.0.0.1 (*, line 8)."),
    ],
)
def test_a_resource_or_a_hook_that_does_not_start_is_one_sentence(
    uno: Any, tmp_path: Path, command: list[str], how: str, told: str
) -> None:
    (tmp_path / "broken.py").write_text(f"""
from uno.aio import ConnectionPool, get_async_manager, get_resource_registry
from uno.app import App, Module

HOW = {how!r}

async def fail():
    raise ConnectionError("no broker at 10.0.0.1")

class Shop(Module):
    async def on_load(self):
        broker = ConnectionPool("broker", fail, min_size=1) if HOW == "pool" else object()
        await get_resource_registry().register("broker", broker, start=fail if HOW == "resource" else None)

if HOW == "hook":
    get_async_manager().add_startup_hook(fail)
app = App(Shop("shop"), database="sqlite:///:memory:")
""")
    done = uno(*command, "broken:app")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "pool.connect_failed" not in line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("uno: " + told.replace("*", str(tmp_path / "broken.py")))
    assert "sqlite" not in lines[0]


def test_control_c_while_it_loads_ends_it_quietly(background: Any, tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(600)\n")
    with background("run", "endless:app") as running:
        running.wait_for("loading")
        assert running.stop(signal.SIGINT) == 130
        assert running.err == ""
