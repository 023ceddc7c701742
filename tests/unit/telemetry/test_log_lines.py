"""Log lines as an operator reads them: each test runs a program and reads its standard error."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from uno.errors import Misconfigured
from uno.telemetry import configure_logging

START = """
import logging, structlog
from uno import context
from uno.context import Context
from uno.telemetry import configure_logging, get_logger
log = get_logger("shop")
"""


def written(program: str, *, json: bool = True, level: str = "INFO") -> str:
    setup = f"{START}configure_logging(json={json}, level={level!r})\n{program}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", setup], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def lines(program: str, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(program, **options).splitlines()]


def test_a_line_is_json_with_time_level_logger_and_fields() -> None:
    [line] = lines("log.warning('sold %s', 'tea', extra={'sku': 'T1', 'price': 2.5, 'gift': False, 'note': None})")
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "sold tea",
        "level": "warning",
        "logger": "shop",
        "sku": "T1",
        "price": 2.5,
        "gift": False,
        "note": None,
    }


def test_every_line_of_a_message_has_its_correlation_id() -> None:
    found = lines(
        "log.info('before')\n"
        "with context.use(Context('c-1', actor='ada')):\n"
        "    log.info('mine')\n"
        "    logging.getLogger('some.library').warning('theirs')\n"
        "    structlog.get_logger('structured').info('bound', sku='T1')\n"
        "with context.use(Context('c-2')):\n"
        "    log.info('next')\n"
    )
    assert [line.get("correlation_id") for line in found] == [None, "c-1", "c-1", "c-1", "c-2"]
    assert [line.get("actor") for line in found] == [None, "ada", "ada", "ada", None]


def test_lines_below_the_level_are_not_written() -> None:
    assert [line["event"] for line in lines("log.info('no'); log.warning('yes')", level="warning")] == ["yes"]


def test_logging_can_be_configured_again_without_doubling_the_lines() -> None:
    assert len(lines("configure_logging(json=True)\nlog.info('once')")) == 1


@pytest.mark.parametrize("level", ["logging.DEBUG", "'debug'", "level=logging.DEBUG", "level='DEBUG'"])
def test_a_level_is_a_number_or_a_name_and_the_logger_of_uno_comes_back(level: str) -> None:
    program = f"made = configure_logging({level}, json=True)\nmade.debug(made.name)"
    found = lines(f"{program}\nget_logger('uno.x').debug('x')")
    assert [(line["event"], line["logger"]) for line in found] == [("uno", "uno"), ("x", "uno.x")]


def test_lines_go_to_a_handler_of_ones_own_in_unos_form() -> None:
    program = (
        "import io\n"
        "page = io.StringIO()\n"
        "configure_logging('INFO', handler=logging.StreamHandler(page))\n"
        "log.info('opening %s', 'postgresql://ada:hunter2@db/shop')\n"
        "import sys; sys.stderr.write(page.getvalue())\n"
        'plain = logging.StreamHandler(); plain.setFormatter(logging.Formatter(\'{"mine": "%(message)s"}\'))\n'
        "configure_logging(handler=plain)\n"
        "log.info('sold')\n"
    )
    first, second = lines(program)
    assert (first["event"], first["level"]) == ("opening postgresql://ada:***@db/shop", "info")
    assert second == {"mine": "sold"}


SECRETS = [
    "log.info('opening %s', 'postgresql://ada:hunter2@db/shop')",
    "log.info('opening', extra={'url': 'redis://:hunter2@cache:6379/0'})",
    "log.info('opening', extra={'url': 'postgresql://ada:p@hunter2@db/shop'})",
    "log.info('opening', extra={'url': 'postgresql://ada:p/hunter2@db/shop'})",
    "log.info('opening host=db password=hunter2 user=ada')",
    "log.info('opening postgresql://db/shop?user=ada&password=hunter2&ssl=1')",
    "log.info('login', extra={'password': 'hunter2'})",
    "log.info('login', extra={'Authorization': 'Bearer hunter2'})",
    "log.info('login', extra={'api_key': 'hunter2', 'refresh_token': 'hunter2', 'client_secret': b'hunter2'})",
    "log.info('login', extra={'request': {'headers': [{'cookie': 'hunter2'}]}})",
    "log.info('login', extra={'settings': {'db': {'url': 'postgresql://ada:hunter2@db/shop'}}})",
    "log.info('login', extra={'error': ValueError('postgresql://ada:hunter2@db/shop')})",
    "log.info('login', extra={'urls': ('a://b:hunter2@c', 'ok')})",
    "try:\n    raise ConnectionError('postgresql://ada:hunter2@db/shop')\nexcept OSError:\n    log.exception('failed')",
    "def connect(password):\n    raise OSError('refused')\n"
    "try:\n    connect('hunter' + str(2))\nexcept OSError:\n    log.exception('failed')",
    "structlog.get_logger('structured').info('login', password='hunter2')",
]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_secret_is_in_no_line(as_json: bool) -> None:
    said = written("\nlog.info('----')\n".join(SECRETS), json=as_json).split("----")
    assert len(said) == len(SECRETS)
    assert [program for program, text in zip(SECRETS, said, strict=True) if "hunter2" in text] == []


def test_what_is_not_secret_stays_readable() -> None:
    [line] = lines(
        "log.info('see http://localhost:8000/docs or mail ada@example.org', "
        "extra={'at': 'http://h:1/a', 'url': 'postgresql://ada:x@db/shop', 'deep': {'n': [1, 2]}})"
    )
    assert line["event"] == "see http://localhost:8000/docs or mail ada@example.org"
    assert line["at"] == "http://h:1/a"
    assert line["url"] == "postgresql://ada:***@db/shop"
    assert line["deep"] == {"n": [1, 2]}


def test_an_exception_is_on_its_line_with_its_traceback() -> None:
    [line] = lines("try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('failed', extra={'sku': 'T1'})")
    assert (line["event"], line["level"], line["sku"]) == ("failed", "error", "T1")
    assert "ZeroDivisionError: division by zero" in line["exception"]


def test_on_a_terminal_lines_are_for_humans() -> None:
    text = written(
        "log.info('sold', extra={'sku': 'T1'})\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('failed')",
        json=False,
    )
    assert "sold" in text
    assert "sku" in text
    assert "ZeroDivisionError: division by zero" in text
    assert not text.startswith("{")


def test_a_failing_subscriber_is_named_in_the_logs_with_the_correlation_id() -> None:
    program = """
import asyncio
from uno.bus import Bus, event_handler
from uno.errors import Conflict
from uno.messages import DomainEvent
from uno.result import Failure
class Sold(DomainEvent): pass
@event_handler(Sold, name="shop.raises")
async def raises(event): raise ValueError("broken till")
@event_handler(Sold, name="shop.fails")
async def fails(event): return Failure(Conflict("sold out"))
async def main():
    with context.use(Context("c-1")):
        await Bus([raises, fails]).publish(Sold())
asyncio.run(main())
"""
    raised, failed = lines(program)
    assert raised["event"] == "subscriber failed"
    assert "ValueError: broken till" in raised["exception"]
    assert failed["event"] == "subscriber failed: sold out"
    assert [line["subscriber"] for line in (raised, failed)] == ["shop.raises", "shop.fails"]
    assert [line["event_name"] for line in (raised, failed)] == ["__main__.Sold"] * 2
    assert [line["correlation_id"] for line in (raised, failed)] == ["c-1"] * 2


def test_the_end_of_a_pool_of_connections_is_no_news() -> None:
    program = (
        "import asyncio\n"
        "from uno.data import Database\n"
        "async def stop():\n"
        "    async with Database('sqlite://'): pass\n"
        "asyncio.run(stop())\n"
    )
    assert lines(program) == []


def test_what_a_line_says_of_itself_goes_before_fields_of_the_same_name() -> None:
    given = "{'event': 'fake', 'level': 'debug', 'logger': 'x', 'timestamp': '1970', 'exception': 'e', '_record': 'r'}"
    [line] = lines(f"log.error('real', extra={given})")
    assert (line["event"], line["level"], line["logger"]) == ("real", "error", "shop")
    assert line["timestamp"] != "1970"
    assert {name: value for name, value in line.items() if name.startswith("extra_")} == {
        "extra_event": "fake",
        "extra_level": "debug",
        "extra_logger": "x",
        "extra_timestamp": "1970",
        "extra_exception": "e",
        "extra__record": "r",
    }


def test_so_it_does_for_lines_of_structlog() -> None:
    [line] = lines("structlog.get_logger('s').info('real', level='debug', timestamp='1970', sku='T1')")
    assert (line["event"], line["level"], line["extra_level"], line["sku"]) == ("real", "info", "debug", "T1")
    assert (line["extra_timestamp"], line["timestamp"] == "1970") == ("1970", False)


def test_who_asks_and_where_cannot_be_said_otherwise_inside_a_message() -> None:
    inside, same, outside = lines(
        "with context.use(Context('c-1', actor='ada')):\n"
        "    log.info('x', extra={'correlation_id': 'c-2', 'actor': 'eve'})\n"
        "    log.info('x', extra={'correlation_id': 'c-1'})\n"
        "log.info('x', extra={'correlation_id': 'c-2'})\n"
    )
    assert (inside["correlation_id"], inside["actor"]) == ("c-1", "ada")
    assert (inside["extra_correlation_id"], inside["extra_actor"]) == ("c-2", "eve")
    assert (same["correlation_id"], "extra_correlation_id" in same) == ("c-1", False)
    assert (outside["correlation_id"], "extra_correlation_id" in outside) == ("c-2", False)


def test_what_cannot_be_compared_is_kept_beside_unos_own_word() -> None:
    odd = "type('Odd', (), {'__ne__': lambda *_: 1 / 0, '__repr__': lambda _: 'odd'})()"
    program = f"with context.use(Context('c-1', actor='ada')):\n    log.info('x', extra={{'actor': {odd}}})\n"
    [line] = lines(program)
    assert (line["actor"], line["extra_actor"]) == ("ada", "odd")


def test_where_no_trace_goes_on_the_correlation_id_is_that_of_the_trace() -> None:
    own, other = lines(
        "with context.use(Context('ab' * 16)): log.info('x')\nwith context.use(Context('c-1')): log.info('x')"
    )
    assert (own["trace_id"], "trace_id" in other) == ("ab" * 16, False)


@pytest.mark.parametrize("level", ["loud", "", None])
def test_a_level_that_is_none_is_told_with_those_that_are(level: Any) -> None:
    before = logging.getLogger().handlers[:]
    with pytest.raises(Misconfigured, match=r"DEBUG, INFO, WARNING, ERROR and CRITICAL, or a number") as caught:
        configure_logging(level)
    assert repr(level) in str(caught.value)
    assert logging.getLogger().handlers == before


def test_a_level_of_ones_own_is_known() -> None:
    program = "logging.addLevelName(5, 'TRACE')\nconfigure_logging('trace', json=True)\nlog.log(7, 'low')"
    assert [line["event"] for line in lines(program)] == ["low"]
