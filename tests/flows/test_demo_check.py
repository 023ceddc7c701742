"""`uno demo`: one command, and a real application works on a real PostgreSQL."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from uno.data import embedded
from uno.examples.inventory import generate

DEADLINE = 120.0
STEPS = ["start", "ready", "scan", "classified", "listed", "approve", "history", "refused", "again"]
DEMO = [sys.executable, "-m", "uno.cli", "demo"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("UNO_")} | {
    # The demo brings its own database whatever the settings say.
    "UNO_DB_URL": "postgresql://nobody@127.0.0.1:1/nothing"
}


def demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*DEMO, *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=DEADLINE)


@pytest.fixture
def folder() -> Iterator[Path]:
    """For the data; the user PostgreSQL runs as can enter it."""
    folder = Path(tempfile.mkdtemp(prefix="uno-test-demo-"))
    yield folder
    embedded.stop(folder, force=True)
    shutil.rmtree(folder)


def test_the_check_drives_the_application_and_leaves_nothing_behind(tmp_path: Path) -> None:
    generate(tmp_path, 20)
    command = [*DEMO, "--check", "--path", str(tmp_path)]
    temporary = Path(tempfile.mkdtemp(prefix="uno-test-tmp-"))
    temporary.chmod(0o711)
    try:
        done = subprocess.run(
            command, env=ENVIRONMENT | {"TMPDIR": str(temporary)}, capture_output=True, text=True, timeout=DEADLINE
        )
        assert done.returncode == 0, done.stderr
        assert [path.name for path in temporary.iterdir() if path.name.startswith("uno-check-")] == []
    finally:
        shutil.rmtree(temporary)
    names = re.findall(r"^✓ (\w+) +[\d,]+ ms  ", done.stdout, re.MULTILINE)
    assert names == [*STEPS, "metrics", "stop"]
    assert "20 found, 20 discovered, 0 updated, 0 unchanged, 0 removed, 0 unreadable" in done.stdout
    assert "8 permissive, 4 weak-copyleft, 4 strong-copyleft, 4 unknown" in done.stdout
    assert "422 names approved_by, role" in done.stdout
    assert "20 found, 0 discovered, 0 updated, 20 unchanged, 0 removed" in done.stdout
    assert "without a token: 401; with it sample-00000 is approved by check; twice: 409 " in done.stdout
    assert "3 audit rows: create, update, update, that one by check" in done.stdout
    assert re.search(r"/metrics counts \d+ messages, 2 of them ApprovePackage$", done.stdout, re.MULTILINE)
    assert re.search(r"^All 11 steps passed in \d+\.\d s\.$", done.stdout, re.MULTILINE)


def test_the_check_can_be_repeated_on_the_same_data_and_tells_programs(tmp_path: Path, folder: Path) -> None:
    generate(tmp_path, 3)
    reports = [demo("--check", "--json", "--data-dir", folder, "--path", tmp_path) for _ in range(3)]
    assert [one.returncode for one in reports] == [0, 0, 0], reports[-1].stderr
    scans = [json.loads(one.stdout)["steps"][2]["result"] for one in reports]
    assert scans[0].startswith("3 found, 3 discovered")
    assert scans[2].startswith("3 found, 0 discovered")


def test_the_check_names_the_step_that_failed(tmp_path: Path, folder: Path) -> None:
    done = demo("--check", "--data-dir", folder, "--path", tmp_path / "nowhere")
    assert done.returncode == 1
    assert "✓ ready" in done.stdout
    assert "scan" not in done.stdout
    assert "uno: The step 'scan' failed: POST /packages/scan was answered with 422: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_check_ends_quietly_and_cleans_up() -> None:
    temporary = Path(tempfile.mkdtemp(prefix="uno-test-tmp-"))
    temporary.chmod(0o711)
    environment = ENVIRONMENT | {"TMPDIR": str(temporary)}
    try:
        with subprocess.Popen([*DEMO, "--check"], env=environment, stdout=subprocess.PIPE, text=True) as process:
            _until(process, "✓ ready")
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 130
        assert [path.name for path in temporary.iterdir() if path.name.startswith("uno-check-")] == []
    finally:
        shutil.rmtree(temporary)


def test_the_demo_serves_until_a_signal_and_keeps_its_data(tmp_path: Path, folder: Path) -> None:
    found = []
    for _ in range(2):
        with subprocess.Popen(
            [*DEMO, "--port", "0", "--data-dir", str(folder)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        ) as process:
            text = _until(process, "Ctrl-C stops everything")
            url = str(re.search(r"Serving on (\S+), and", text)[1])  # type: ignore[index]
            assert f"Data: embedded PostgreSQL in {folder}\n" in text
            assert f"{url}/docs\n" in text
            assert f"{url}/metrics\n" in text
            found.append(len(httpx2.get(f"{url}/packages").json()))
            generate(tmp_path, 7)
            assert httpx2.post(f"{url}/packages/scan", json={"path": str(tmp_path)}, timeout=30).status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 0
    assert found == [0, 7]


def test_what_the_demo_prints_can_be_pasted(tmp_path: Path, folder: Path) -> None:
    generate(tmp_path / "one", 1)
    command = [*DEMO, "--port", "0", "--data-dir", str(folder), "--path", str(tmp_path / "one")]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        told = _until(process, "Ctrl-C stops everything")
        scan, listed, checks, *deciding = re.findall(r"^  ((?:curl|TOKEN=).*)$", told, re.MULTILINE)
        script = "\n".join([scan, listed, *deciding]).replace("/packages/typer/", "/packages/sample-00000/")
        assert script.count("/packages/sample-00000/") == 3
        checked = subprocess.run(["bash", "-c", checks.replace("curl", "curl -sS")], capture_output=True, text=True)
        pasted = subprocess.run(
            ["bash", "-c", script.replace("curl", "curl -sS -w '\\n'")], capture_output=True, text=True
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
    answers = [json.loads(line) for line in pasted.stdout.splitlines()]
    assert (answers[0]["discovered"], answers[1][0]["id"], answers[2]["status"]) == (1, "sample-00000", 401)
    assert json.loads(checked.stdout).keys() == {"items", "next"}
    assert (answers[3]["status"], answers[3]["decided_by"]) == ("approved", "you")
    # Not always the last one: the worker's finding of a licence may come later.
    assert "you" in [entry["actor"] for entry in answers[4]]


def test_without_the_extras_the_demo_is_open_and_says_so(tmp_path: Path, folder: Path) -> None:
    """As after `pip install uno`: every package of this Python is there but theirs."""
    site, packages = tmp_path / "site", Path(httpx2.__file__).parents[1]
    site.mkdir()
    for one in packages.iterdir():
        if not one.name.startswith(("joserfc", "prometheus_client")):
            (site / one.name).symlink_to(one)
    source = Path(embedded.__file__).parents[3]
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(source), str(site)])}
    generate(tmp_path / "few", 3)
    # -S: without the packages of this Python itself.
    command = [sys.executable, "-S", *DEMO[1:], "--check", "--data-dir", str(folder), "--path", str(tmp_path / "few")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^✓ (\w+)", done.stdout, re.MULTILINE) == [*STEPS, "stop"]
    assert "without the extra 'auth' everybody may: sample-00000 is approved by check" in done.stdout


def _until(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    deadline, text = time.monotonic() + DEADLINE, ""
    for line in process.stdout:
        text += line
        if wanted in line:
            return text
        assert time.monotonic() < deadline, text
    raise AssertionError(text)


def test_a_taken_port_is_one_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for arguments in (["--port", port], ["--check", "--port", port]):
            done = demo(*arguments, "--data-dir", folder)
            assert done.returncode == 1
            told = f"uno: Cannot listen on 127.0.0.1:{port}: Address already in use; choose another port."
            assert done.stderr.splitlines()[-1] == told
            assert "Traceback" not in done.stderr
    deadline = time.monotonic() + DEADLINE
    while embedded.status(folder).running:  # nothing is left running
        assert time.monotonic() < deadline
        time.sleep(0.05)
