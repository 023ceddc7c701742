"""`uno routes`, `uno messages` and `uno doctor`: for people and for programs."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.contracts.tenants import run

from uno.examples.inventory import ScanEnvironment, app as inventory, generate

INVENTORY = "uno.examples.inventory:app"
SQLITE = {"UNO_DB_URL": "sqlite:///inventory.db"}


def test_routes_are_listed(uno: Any) -> None:
    done = uno("routes", INVENTORY, **SQLITE)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["METHOD", "PATH", "STATUS", "ACCESS", "MESSAGE"]
    assert ["POST", "/packages/{package_id}/approve", "200", "open", "ApprovePackage"] in lines
    assert ["GET", "/licence-checks/{id}", "200", "open", "GetLicenceCheck"] in lines  # of a resource
    assert len(lines) == 12
    assert "\x1b" not in done.stdout


def test_routes_are_json_for_programs(uno: Any) -> None:
    routes = json.loads(uno("routes", INVENTORY, "--json", **SQLITE).stdout)
    assert {
        "method": "GET",
        "path": "/packages/{package_id}",
        "status": 200,
        "access": "open",
        "name": "GetPackage",
        "tags": ["inventory"],
        "summary": None,
        "message": "uno.examples.inventory.queries.GetPackage",
    } in routes


def test_messages_are_listed_with_their_handlers(uno: Any) -> None:
    done = uno("messages", INVENTORY, **SQLITE)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["command", "ScanEnvironment", "path", "scan_environment"] in lines
    durable = json.loads(uno("messages", INVENTORY, "--json", **SQLITE).stdout)
    assert {(one["message"], one["subscriber"]) for one in durable if one["durable"]} == {
        ("uno.examples.inventory.packages.PackageDiscovered", "inventory.classify-licence"),
        ("uno.examples.inventory.packages.PackageUpdated", "inventory.classify-licence"),
    }


def test_the_doctor_says_what_an_application_stands_on(uno: Any, url: str, tmp_path: Path) -> None:
    generate(tmp_path / "site", 3)

    async def scan() -> None:
        app = inventory(database=url)
        assert app.database is not None
        async with app.database:
            await app.create_schema()
        async with app:
            (await app.bus.dispatch(ScanEnvironment(path=str(tmp_path / "site")))).unwrap()

    asyncio.run(scan())
    done = uno("doctor", INVENTORY, "--json", UNO_DB_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    database = report["database"]
    assert (database["reachable"], database["schema"], database["embedded"]) == (True, "0002", None)
    assert url.startswith(database["backend"])
    assert report["storage"] == [
        {"class": "Package", "table": "packages", "plan": "fast", "reason": None},
        {"class": "LicenceCheck", "table": "licence_checks", "plan": "fast", "reason": None},
    ]
    assert (report["deliveries"], report["unknown"]) == ({"ready": 3}, {})
    shown = uno("doctor", INVENTORY, UNO_DB_URL=url)
    assert "Deliveries: 3 ready" in shown.stdout
    assert "✓ All is well." in shown.stdout

    # Another application finds deliveries that nobody there waits for.
    (tmp_path / "other.py").write_text(f"from uno.app import App\napp = App(database={url!r})\n")
    other = uno("doctor", "other:app", "--json", UNO_DB_URL=url)
    label = "inventory.classify-licence ← uno.examples.inventory.packages.PackageDiscovered"
    assert json.loads(other.stdout)["unknown"] == {label: 3}


def test_the_doctor_keeps_secrets_and_fails_where_the_database_is_down(uno: Any, shop: str) -> None:
    down = "postgresql://ann:sesame@127.0.0.1:1/shop"
    done = uno("doctor", shop, "--json", UNO_DB_URL=down)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["settings"]["db"]["url"] == "postgresql://***@127.0.0.1:1/shop"
    assert report["problems"] == ["The database cannot be reached. It is postgresql://***@127.0.0.1:1/shop."]
    shown = uno("doctor", shop, UNO_DB_URL=down)
    assert shown.returncode == 1
    assert "✗ The database cannot be reached." in shown.stdout
    assert "sesame" not in done.stdout + done.stderr + shown.stdout + shown.stderr


def test_the_doctor_names_the_command_that_creates_the_tables(uno: Any, shop: str, url: str) -> None:
    done = uno("doctor", shop, "--json", UNO_DB_URL=url)
    assert done.returncode == 1
    problems = json.loads(done.stdout)["problems"]
    assert problems == ["The database has none of uno's tables; create them with: uno db create PACKAGE:APP"]


def test_the_doctor_names_variables_that_nothing_reads(uno: Any, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("""
from pydantic import BaseModel
from uno.app import App
from uno.settings import Section

class Till(BaseModel):
    name: str = ""

class Shop(Section):
    model_config = {"env_prefix": "UNO_SHOP_"}
    name: str = ""
    till: Till = Till()

app = App(database="sqlite://")
""")
    (tmp_path / ".env").write_text("UNO_HOST_MAX_WORKER=hunter2\n")
    known = {"UNO_ENV": "test", "UNO_TEST_POSTGRES_URL": "x", "UNO_DB__POOL_SIZE": "1", "UNO_SHOP_NAME": "x"}
    wrong = {"UNO_LOG_LEVL": "hunter2", "UNO_DATABASE_URL": "hunter2", "UNO_TILL_COLOUR": "hunter2"}
    done = uno("doctor", "plain:app", **known, **wrong, UNO_SHOP_TILL__NAME="x")
    assert [line for line in done.stdout.splitlines() if line.startswith("!")] == [
        "! Nothing of uno reads UNO_DATABASE_URL; did you mean UNO_DB_URL?",
        "! Nothing of uno reads UNO_HOST_MAX_WORKER; did you mean UNO_HOST_MAX_WORKERS?",
        "! Nothing of uno reads UNO_LOG_LEVL; did you mean UNO_LOG_LEVEL?",
        "! Nothing of uno reads UNO_TILL_COLOUR.",
    ]
    assert "hunter2" not in done.stdout + done.stderr
    told = json.loads(uno("doctor", "plain:app", "--json", UNO_LOG_LEVL="x").stdout)
    assert told["unread"] == {"UNO_HOST_MAX_WORKER": "UNO_HOST_MAX_WORKERS", "UNO_LOG_LEVL": "UNO_LOG_LEVEL"}


def test_the_doctor_says_why_a_class_takes_the_session_path(uno: Any, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("""
from sqlalchemy.orm import Mapped, deferred, mapped_column
from uno.app import App, Module
from uno.data import Model

class Page(Model):
    __tablename__ = "pages"
    id: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str] = deferred(mapped_column())

app = App(Module("pages", models=[Page]), database="sqlite://")
""")
    report = json.loads(uno("doctor", "slow:app", "--json").stdout)
    assert report["storage"] == [
        {"class": "Page", "table": "pages", "plan": "session", "reason": "deferred column text"}
    ]


def test_the_doctor_warns_where_policies_do_not_hold(uno: Any, shop: str, created: str) -> None:
    secured = created.startswith("postgresql")  # SQLite has none
    if secured:
        asyncio.run(run(created, "ALTER TABLE uno_document ENABLE ROW LEVEL SECURITY"))
    done = uno("doctor", shop, UNO_DB_URL=created)
    assert done.returncode == 0
    warning = "! The row-level security of public.uno_document does not hold for the role "
    assert (warning in done.stdout) is secured
    assert "✓ All is well." in done.stdout


def test_the_doctor_warns_of_management_that_is_open_to_everybody(uno: Any, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("from uno.app import App\napp = App()\n")
    for env, code, where in (("development", 0, "warnings"), ("production", 1, "problems")):
        done = uno("doctor", "plain:app", "--json", UNO_API_MANAGEMENT="open", UNO_ENV=env, UNO_TOKEN="hunter2")
        report = json.loads(done.stdout)
        assert (done.returncode, len(report[where])) == (code, 1)
        assert report[where][0].startswith('UNO_API_MANAGEMENT is "open": everybody who reaches the port')
        assert report["unread"] == {}
        assert "hunter2" not in done.stdout
