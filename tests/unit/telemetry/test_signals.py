"""Signals: one catalogue, and nobody emits what is not in it."""

import ast
import io
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog

import uno
from uno.telemetry import configure_logging, emit, signal_counts
from uno.telemetry.catalogue import SIGNALS

SOURCES = Path(uno.__file__).parent


def emitted() -> Iterator[tuple[str, ast.Call]]:
    """Every `emit("name", field=…)` in uno."""
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "emit" and node.args:
                yield str(path.relative_to(SOURCES)), node


def literal(call: ast.Call) -> str | None:
    value = call.args[0]
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def test_every_emit_names_a_signal_of_the_catalogue_with_its_fields() -> None:
    calls = list(emitted())
    assert len(calls) >= 3
    for path, call in calls:
        name = literal(call)
        if name is None:
            continue
        assert name in SIGNALS, f"{path}:{call.lineno}"
        fields = {one.arg for one in call.keywords}
        assert None in fields or fields == set(SIGNALS[name].fields), f"{path}:{call.lineno} {name}"


def test_the_catalogue_is_sorted_and_says_a_sentence_for_each() -> None:
    assert all("." in name and signal.text for name, signal in SIGNALS.items())


def test_a_signal_is_a_log_line_with_its_fields_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    before = signal_counts().get("gauge.failed", 0)
    with caplog.at_level(logging.DEBUG, logger="uno.gauge"):
        emit("gauge.failed", gauge="lag", error="no database")
    [record] = caplog.records
    text = f"{SIGNALS['gauge.failed'].text}: gauge=lag, error=no database"
    assert (record.name, record.levelname, record.message) == ("uno.gauge", "WARNING", text)
    assert (vars(record)["signal"], vars(record)["gauge"]) == ("gauge.failed", "lag")
    assert signal_counts()["gauge.failed"] == before + 1


@pytest.mark.parametrize("formatter", [logging.Formatter("%(message)s"), None])
def test_what_it_is_about_is_on_the_line_once_and_without_secrets(
    formatter: logging.Formatter | None, logged: Callable[..., list[str]]
) -> None:
    [line] = logged(formatter, gauge="lag\nof mail", error="postgresql://shop:hunter2@db/shop")
    assert line.count("mail") == 1
    assert r"lag\nof mail" in line
    assert line.count("@db/shop") == 1
    assert "hunter2" not in line


@pytest.fixture
def logged() -> Iterator[Callable[..., list[str]]]:
    """The lines that a handler with this formatter, or uno's own, writes of a gauge that failed."""
    root = logging.getLogger()
    before = root.handlers, root.level, structlog.get_config()

    def log(formatter: logging.Formatter | None, **fields: str) -> list[str]:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        if formatter is not None:
            handler.setFormatter(formatter)
        configure_logging(handler=handler, json=True)
        emit("gauge.failed", **fields)
        return stream.getvalue().splitlines()

    yield log
    root.handlers, root.level = before[:2]
    structlog.configure(**before[2])


def test_a_name_that_is_not_in_the_catalogue_is_a_bug() -> None:
    with pytest.raises(KeyError):
        emit("gauge.exploded")
    assert "gauge.exploded" not in signal_counts()


def test_fields_called_like_those_of_a_log_record_are_told_under_another_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="uno.gauge"):
        emit("gauge.failed", name="lag", message="no database", args=1, signal=2)
    [record] = caplog.records
    told = vars(record)
    assert (told["gauge_name"], told["gauge_message"], told["gauge_args"], told["gauge_signal"]) == (
        "lag",
        "no database",
        1,
        2,
    )


def test_no_signal_is_lost_when_threads_emit_at_the_same_time() -> None:
    before = signal_counts().get("gauge.failed", 0)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: emit("gauge.failed", gauge=str(n), error=""), range(400)))
    assert signal_counts()["gauge.failed"] == before + 400
