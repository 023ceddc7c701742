"""`uno dead`: what failed for the last time is seen, sent again or discarded."""

import json
import uuid
from typing import Any

import httpx2
import pytest


@pytest.fixture
def refused(background: Any, shop: str, created: str, wait_until: Any) -> str:
    """The URL of a database with one dead letter."""
    with background("run", shop, "--port", "0", "--worker", UNO_DB_URL=created) as running:
        address = running.wait_for(r"Serving on (\S+)")[1]
        assert httpx2.post(f"{address}/orders", json={"order_id": "refused"}).status_code == 200
        wait_until(created, {"dead": 1})
        assert running.stop() == 0
    return created


def letters(uno: Any, url: str, *more: str) -> list[dict[str, Any]]:
    done = uno("dead", "list", "--json", *more, UNO_DB_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    return list(json.loads(done.stdout))


def test_dead_letters_are_listed_shown_sent_again_and_discarded(
    uno: Any, background: Any, shop: str, refused: str, wait_until: Any
) -> None:
    letter = letters(uno, refused)[0]
    assert (letter["subscriber"], letter["event"]) == ("shop.ship", "shop.order-placed")
    assert letters(uno, refused, "--app", shop) == [letter]

    shown = uno("dead", "show", letter["id"], UNO_DB_URL=refused)
    assert letter["correlation_id"] in shown.stdout
    assert "There is no such �[31maddress." in shown.stdout
    assert "\x1b" not in shown.stdout + uno("dead", "list", UNO_DB_URL=refused).stdout

    again = uno("dead", "retry", "--all", UNO_DB_URL=refused)
    assert (again.returncode, again.stdout) == (0, "1 will be delivered again.\n")
    assert uno("dead", "list", UNO_DB_URL=refused).stdout == "There are no dead letters.\n"
    with background("worker", shop, UNO_DB_URL=refused) as working:
        wait_until(refused, {"dead": 1})
        assert working.stop() == 0

    assert letters(uno, refused)[0]["id"] == letter["id"]
    assert uno("dead", "discard", letter["id"], UNO_DB_URL=refused).stdout == "1 discarded.\n"
    assert letters(uno, refused) == []


def test_a_dead_letter_that_is_not_there_is_one_sentence(uno: Any, created: str) -> None:
    for command in ("show", "retry", "discard"):
        nobody = str(uuid.uuid4())
        done = uno("dead", command, nobody, UNO_DB_URL=created)
        assert (done.returncode, done.stderr) == (1, f"uno: There is no dead letter with id '{nobody}'.\n")


@pytest.mark.parametrize("arguments", [["show", "17"], ["retry"], ["retry", "--all", str(uuid.uuid4())], ["discard"]])
def test_what_is_no_id_is_a_usage_error(uno: Any, arguments: list[str]) -> None:
    done = uno("dead", *arguments, UNO_DB_URL="sqlite:///none.db")
    assert (done.returncode, done.stdout) == (2, "")
