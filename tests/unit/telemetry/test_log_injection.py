"""Whatever a client sends: one line for each thing that is logged, and nothing that looks like another."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from uno import context
from uno.context import Context
from uno.telemetry import configure_logging
configure_logging(json=sys.argv[1] == "json", level="INFO")
EVIL = "x\\r\\n2026-01-01T00:00:00Z [info     ] paid in full\\x1b[2K\\x00\\u2028\\u202e\\x85end"
log = logging.getLogger("shop")
with context.use(Context("c-1", actor=EVIL, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")):
    log.warning("name is %s", EVIL)
    log.warning("headers", extra={"header": EVIL, "deep": {"list": [EVIL], EVIL: 1}, EVIL: 2})
    logging.getLogger(EVIL).warning("whose logger")
"""
EXCEPTION = """
try:
    raise ValueError(EVIL)
except ValueError:
    log.exception("failed")
"""
CONTROL = {chr(n) for n in (*range(32), *range(127, 160), 0x2028, 0x2029, 0x202E)} - {"\n"}


def written(form: str, more: str = "") -> str:
    command = [sys.executable, "-W", "error", "-c", PROGRAM + more, form]
    return subprocess.run(command, capture_output=True, check=True).stderr.decode()


@pytest.mark.parametrize("form", ["json", "console"])
def test_control_characters_stay_on_their_line(form: str) -> None:
    text = written(form)
    assert len(text.splitlines()) == text.count("\n") == 3
    assert CONTROL & set(text) == set()


def test_as_json_the_values_are_what_was_said_with_trace_and_span() -> None:
    name, headers, logger = map(json.loads, written("json").splitlines())
    assert name["event"].startswith("name is x\r\n")
    assert headers["header"].endswith("end")
    assert logger["logger"].startswith("x\r\n")
    assert {(line["correlation_id"], line["trace_id"], line["span_id"]) for line in (name, headers, logger)} == {
        ("c-1", "a" * 32, "b" * 16)
    }


def test_on_a_console_the_lines_of_a_traceback_show_what_they_are() -> None:
    head, *traceback = written("console", EXCEPTION).splitlines()[3:]
    assert "failed" in head
    assert len(traceback) >= 4
    assert all(line.startswith("  | ") for line in traceback)
    assert CONTROL & set("".join(traceback)) == set()


def test_as_json_a_traceback_is_on_the_line_of_its_message() -> None:
    lines = written("json", EXCEPTION).splitlines()
    assert len(lines) == 4
    assert "ValueError: x\r\n" in json.loads(lines[3])["exception"]
