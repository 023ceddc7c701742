"""PYMODULES_* variables, under their names of today."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest

from uno.compat import adopt_environment, environment, resolve
from uno.modules import ModuleHostConfig


@pytest.fixture
def clean() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("PYMODULES_MAX_WORKERS", "UNO_HOST_MAX_WORKERS"),
        ("PYMODULES_PROPAGATE_EXCEPTIONS", "UNO_HOST_PROPAGATE_EXCEPTIONS"),
        ("PYMODULES_LOG_LEVEL", "UNO_HOST_LOG_LEVEL"),
        ("PYMODULES_ENABLE_METRICS", "UNO_HOST_ENABLE_METRICS"),
        ("PYMODULES_ENABLE_TRACING", "UNO_HOST_ENABLE_TRACING"),
        ("PYMODULES_RATE_LIMIT", "UNO_HOST_RATE_LIMIT"),
        ("PYMODULES_RATE_LIMIT_BURST", "UNO_HOST_RATE_LIMIT_BURST"),
        ("PYMODULES_CIRCUIT_BREAKER_THRESHOLD", "UNO_HOST_CIRCUIT_BREAKER_THRESHOLD"),
        ("PYMODULES_RETRY_MAX", "UNO_HOST_RETRY_MAX"),
        ("PYMODULES_DLQ_SIZE", "UNO_HOST_DLQ_SIZE"),
        ("PYMODULES_JWT_SECRET_KEY", "UNO_JWT_SECRET_KEY"),
        ("PYMODULES_JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "UNO_JWT_ACCESS_TOKEN_EXPIRE_MINUTES"),
        ("PYMODULES_DB_URL", "UNO_DB_URL"),
        ("PYMODULES_DB_POOL_SIZE", "UNO_DB_POOL_SIZE"),
        ("PYMODULES_DB_POOL_TIMEOUT", "UNO_DB_ACQUIRE_TIMEOUT"),
    ],
)
def test_an_old_variable_has_a_new_name(old: str, new: str) -> None:
    assert environment({old: "7", "HOME": "/"}) == {new: "7"}


def test_the_new_name_wins_and_what_has_none_is_left_alone() -> None:
    assert environment({"PYMODULES_RETRY_MAX": "1", "UNO_HOST_RETRY_MAX": "2", "PYMODULES_BROKER_TYPE": "redis"}) == {}


def test_the_parts_of_a_database_are_put_together() -> None:
    parts = {"HOST": "db", "PORT": "5433", "NAME": "shop", "USER": "ada", "PASSWORD": "p@ss/word"}
    made = environment({f"PYMODULES_DB_{name}": value for name, value in parts.items()})
    assert made == {"UNO_DB_URL": "postgresql://ada:p%40ss%2Fword@db:5433/shop"}


def test_they_keep_working_and_say_what_they_are_called_now(clean: None) -> None:
    os.environ |= {"PYMODULES_MAX_WORKERS": "9", "PYMODULES_JWT_SECRET_KEY": "hunter2-hunter2-hunter2"}
    with pytest.warns(DeprecationWarning, match="set UNO_HOST_MAX_WORKERS, UNO_JWT_SECRET_KEY instead") as told:
        adopt_environment()
    assert "hunter2" not in str(told[0].message)
    assert ModuleHostConfig.from_env().max_workers == 9


def test_it_says_nothing_twice(clean: None) -> None:
    os.environ["PYMODULES_MAX_WORKERS"] = "9"
    with pytest.warns(DeprecationWarning, match="UNO_HOST_MAX_WORKERS"):
        adopt_environment()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert adopt_environment() == {}


def test_a_name_of_pymodules_adopts_them_first(clean: None) -> None:
    os.environ["PYMODULES_MAX_WORKERS"] = "9"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        config = resolve("pymodules.ModuleHostConfig").from_env()
    assert config.max_workers == 9
    assert [one.filename for one in told] == [__file__] * 2
    assert "set UNO_HOST_MAX_WORKERS instead" in str(told[0].message)
    assert "uno.modules.ModuleHostConfig" in str(told[1].message)


def test_a_name_of_another_system_leaves_them_alone(clean: None) -> None:
    os.environ["PYMODULES_MAX_WORKERS"] = "9"
    with pytest.warns(DeprecationWarning, match="uno.core.Success"):
        resolve("uno.core.Success")
    assert "UNO_HOST_MAX_WORKERS" not in os.environ


def test_an_import_leaves_the_environment_alone() -> None:
    program = "import os; before = dict(os.environ); import uno.compat.pymodules; assert os.environ == before"
    environment = {**os.environ, "PYMODULES_MAX_WORKERS": "9"}
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environment, check=True)


@pytest.mark.parametrize(
    "name", ["DB_ECHO", "DB_POOL_RECYCLE", "BROKER_TYPE", "REDIS_URL", "DISCOVERY_TYPE", "DB_HOST", "NO_SUCH"]
)
def test_what_has_no_counterpart_is_said_once(clean: None, name: str) -> None:
    os.environ[f"PYMODULES_{name}"] = "redis://:hunter2@cache"
    with pytest.warns(DeprecationWarning, match=f"Nothing reads PYMODULES_{name} any more") as told:
        assert adopt_environment() == {}
    assert "hunter2" not in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert adopt_environment() == {}


def test_the_command_line_adopts_them_and_says_so() -> None:
    environment = {**os.environ, "PYMODULES_RETRY_MAX": "2"}
    command = [sys.executable, "-m", "uno.cli", "messages"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stderr.startswith("uno: The variables PYMODULES_* are called otherwise now: set UNO_HOST_RETRY_MAX")
