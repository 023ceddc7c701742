"""The command line as a whole: light, helpful, and quiet where no terminal is."""

import os
import subprocess
import sys

import pytest
from pydantic import SecretStr

import uno
from uno.cli.doctor import redacted
from uno.cli.output import Progress, table
from uno.cli.serving import is_loopback
from uno.settings import DatabaseSettings, load

HEAVY = ("fastapi", "starlette", "sqlalchemy", "asyncpg", "uvicorn", "dishka", "pydantic", "structlog", "asyncio")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uno.cli", *arguments]
    environment = os.environ | {"COLUMNS": "100"} | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_it_loads_no_heavy_library_before_a_command_needs_it() -> None:
    program = f"import sys, uno.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"


def test_the_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"uno {uno.__version__}\n")


def test_the_help_lists_every_command_and_has_no_colours_in_a_pipe() -> None:
    done = run("--help", NO_COLOR="1")
    assert done.returncode == 0
    for command in ("demo", "run", "worker", "routes", "messages", "doctor", "db", "dead"):
        assert f"│ {command} " in done.stdout
    assert "\x1b" not in done.stdout


def test_completion_is_there_for_shells() -> None:
    assert "--install-completion" in run("--help").stdout
    done = run(_UNO_COMPLETE="complete_bash", COMP_WORDS="uno ro", COMP_CWORD="1")
    assert done.stdout.split() == ["routes"]


@pytest.mark.parametrize("arguments", [["nonsense"], ["run"], ["run", "a:b", "--port", "many"], ["demo", "--json"]])
def test_a_wrong_call_exits_with_2_and_prints_nothing_on_standard_output(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: uno" in done.stderr


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_only_loopback_addresses_are_private(host: str, private: bool) -> None:
    assert is_loopback(host) is private


def test_settings_are_shown_without_their_secrets() -> None:
    url = SecretStr("postgresql://ann:sesame@db/shop?password=sesame")
    shown = redacted(load(db=DatabaseSettings(url=url)))
    assert shown["db"]["url"] == "postgresql://***@db/shop"
    assert "sesame" not in str(shown)
    assert shown["api"]["port"] == 8000


def test_of_a_url_that_cannot_be_understood_nothing_is_shown() -> None:
    for url in ("postgresql://ann:se@same@db/shop", "postgresql://ann:sesame/shop", "sesame"):
        assert redacted(load(db=DatabaseSettings(url=SecretStr(url))))["db"]["url"] == "***"


def test_a_table_has_one_line_per_row_and_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    table(["ID", "TEXT"], [(1, "x" * 300), (None, "\x1b[31mred\x07 [bold]")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "ID",
        "1",
        "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}",
    ]
    assert "[bold]" in lines[2]


def test_progress_is_lines_on_standard_error_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress("Initialising")
        progress("Starting")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Initialising …\nStarting …\n")
