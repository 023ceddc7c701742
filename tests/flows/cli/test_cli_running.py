"""`uno run` and `uno worker` until a signal."""

import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest


def place(url: str, order: str) -> httpx2.Response:
    return httpx2.post(f"{url}/orders", json={"order_id": order})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_application_is_served_until_a_signal(
    background: Any, shop: str, created: str, number: int, wait_until: Any
) -> None:
    with background("run", shop, "--port", "0", UNO_DB_URL=created) as running:
        url = running.wait_for(r"Serving on (http://127.0.0.1:\d+)\n")[1]
        assert place(url, "a").status_code == 200
        assert httpx2.get(f"{url}/health/ready").json()["status"] == "healthy"
        assert running.stop(number) == 0
        assert running.err == ""
    wait_until(created, {"ready": 1})


def test_it_delivers_events_too_when_asked(background: Any, shop: str, created: str, wait_until: Any) -> None:
    with background("run", shop, "--port", "0", "--worker", UNO_DB_URL=created) as running:
        url = running.wait_for(r"Serving on (\S+)")[1]
        assert place(url, "a").status_code == 200
        wait_until(created, {"done": 1})
        assert running.stop() == 0


def test_a_worker_delivers_what_others_placed(
    uno: Any, background: Any, shop: str, created: str, wait_until: Any
) -> None:
    with background("run", shop, "--port", "0", UNO_DB_URL=created) as running:
        url = running.wait_for(r"Serving on (\S+)")[1]
        for n in range(5):
            assert place(url, f"order-{n}").status_code == 200
        assert running.stop() == 0
    with background("worker", shop, UNO_DB_URL=created) as working:
        for n in range(5):
            working.wait_for(f"shipping order-{n}")
        wait_until(created, {"done": 5})
        assert working.stop() == 0
        assert "is waiting for deliveries" in working.out
        assert working.err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_stopped_leaves_no_delivery_running(
    background: Any, shop: str, created: str, number: int, wait_until: Any
) -> None:
    with background("run", shop, "--port", "0", UNO_DB_URL=created) as running:
        assert place(running.wait_for(r"Serving on (\S+)")[1], "slow").status_code == 200
        assert running.stop() == 0
    with background("worker", shop, UNO_DB_URL=created, UNO_GRACE="1") as working:
        working.wait_for("shipping slow")
        assert working.stop(number) == 0
    wait_until(created, {"ready": 1})


def test_what_asgi_made_of_an_application_is_served_with_its_own_routes(background: Any, tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(
        "from uno.api import asgi\nfrom uno.app import App\n"
        "api = asgi(App())\n\n@api.get('/hello')\nasync def hello() -> str:\n    return 'hello'\n"
    )
    with background("run", "served:api", "--port", "0") as running:
        url = running.wait_for(r"Serving on (\S+)")[1]
        assert httpx2.get(f"{url}/hello").json() == "hello"


def test_variables_that_nothing_reads_are_told_at_the_start(background: Any, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("from uno.app import App\napp = App()\n")
    with background("run", "plain:app", "--port", "0", UNO_LOG_LEVL="hunter2") as running:
        running.wait_for("Serving on")
        assert "did you mean UNO_LOG_LEVEL?" in running.err
        assert "hunter2" not in running.err
        assert len(running.err.splitlines()) == 1
