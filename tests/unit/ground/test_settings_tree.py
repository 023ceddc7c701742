"""Settings, from real environments, real `.env` files and a real pyproject.toml."""

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel, ValidationError

from uno.errors import Misconfigured
from uno.settings import ApiSettings, DatabaseSettings, JWTSettings, Section, Settings, load, read


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("UNO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_anything_there_are_defaults() -> None:
    settings = load()
    assert (settings.env, settings.db.url, settings.api.port) == ("development", None, 8000)


@pytest.mark.parametrize("variable", ["UNO_DB_POOL_SIZE", "UNO_DB__POOL_SIZE"])
def test_a_section_is_read_under_its_own_prefix_or_nested(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "7")
    assert load().db.pool_size == 7
    assert DatabaseSettings().pool_size == 7


def write(pyproject: str = "", dotenv: str = "") -> None:
    Path("pyproject.toml").write_text(pyproject)
    Path(".env").write_text(dotenv)


def test_arguments_then_environment_then_file_then_pyproject(monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        "[tool.uno]\nenv = 'test'\n"
        "[tool.uno.worker]\nconcurrency = 1\nmax_attempts = 1\nlease = 1\npoll_interval = 1\n",
        "UNO_WORKER_CONCURRENCY=2\nUNO_WORKER_MAX_ATTEMPTS=2\nUNO_WORKER_LEASE=2\n",
    )
    monkeypatch.setenv("UNO_WORKER_CONCURRENCY", "3")
    monkeypatch.setenv("UNO_WORKER_MAX_ATTEMPTS", "3")
    settings = load(worker={"concurrency": 4})
    worker = settings.worker
    assert (worker.concurrency, worker.max_attempts, worker.lease, worker.poll_interval) == (4, 3, 2.0, 1.0)
    assert settings.env == "test"


def test_a_nested_variable_in_a_file_does_not_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    write(dotenv="UNO_API__PORT=1111\nSOMETHING_ELSE=1\n")
    assert load().api.port == 1111
    monkeypatch.setenv("UNO_API_PORT", "2222")
    assert load().api.port == 2222


def test_every_wrong_variable_of_every_section_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "UNO_ENV": "prod",
        "UNO_DB_POOL_SIZE": "0",
        "UNO_DB_CONNECT_TIMEOUT": "soon",
        "UNO_API_PORT": "70000",
        "UNO_WORKER_LEASE": "-1",
        "UNO_LOG_FORMAT": "xml",
        "UNO_LOG_LEVEL": "loud",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as raised:
        load()
    text = str(raised.value)
    assert text.startswith("The settings are not valid: ")
    assert [name for name in wrong if f"{name}: " not in text] == []


def test_a_wrong_value_is_not_repeated_for_it_may_be_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_DB_POOL_SIZE", "hunter2")
    with pytest.raises(Misconfigured) as raised:
        load()
    assert "hunter2" not in str(raised.value)


def test_a_broken_file_is_one_sentence() -> None:
    write("[tool.uno\n")
    with pytest.raises(Misconfigured, match="cannot be read"):
        load()


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_DB_URL", "postgresql://ada:hunter2@db/shop")
    settings = load()
    assert settings.db.url is not None
    assert settings.db.url.get_secret_value() == "postgresql://ada:hunter2@db/shop"
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.db)):
        assert "hunter2" not in shown


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load().api.port = 1  # type: ignore[misc]


def test_the_level_of_the_logs_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_LOG_LEVEL", "debug")
    assert load().log.level == "DEBUG"


def test_a_whole_section_can_be_given() -> None:
    assert load(api=ApiSettings(port=1)).api.port == 1
    assert Settings(api=ApiSettings(port=2)).api.port == 2
    assert pickle.loads(pickle.dumps(load(env="test"))).env == "test"


@pytest.mark.parametrize("variable", ["UNO_JWT_VERIFICATION_KEYS", "UNO_JWT__VERIFICATION_KEYS"])
def test_what_has_to_be_json_is_named_with_all_that_is_wrong(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "hunter2")
    monkeypatch.setenv("UNO_JWT_LEEWAY", "soon")
    monkeypatch.setenv("UNO_DB_POOL_SIZE", "0")
    with pytest.raises(Misconfigured) as raised:
        load()
    text = str(raised.value)
    assert 'UNO_JWT_VERIFICATION_KEYS: must be JSON, {"name": "value", ...}' in text
    assert "UNO_JWT_LEEWAY: " in text
    assert "UNO_DB_POOL_SIZE: " in text
    assert "hunter2" not in text
    with pytest.raises(Misconfigured, match="UNO_JWT_VERIFICATION_KEYS: must be JSON"):
        read(JWTSettings)


def test_what_has_to_be_json_is_named_in_a_file_too() -> None:
    write(dotenv="UNO_JWT_VERIFICATION_KEYS=hunter2\n")
    with pytest.raises(Misconfigured, match="UNO_JWT_VERIFICATION_KEYS: must be JSON"):
        load()


def test_a_section_can_have_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tags(Section):
        model_config = {"env_prefix": "TAGS_"}
        names: list[str] = []

    monkeypatch.setenv("TAGS_NAMES", '["a", "b"]')
    assert read(Tags).names == ["a", "b"]
    monkeypatch.setenv("TAGS_NAMES", "a,b")
    with pytest.raises(Misconfigured, match=r"TAGS_NAMES: must be JSON, \[value, ...\]"):
        read(Tags)


@pytest.mark.parametrize("variable", ["UNO_JWT_VERIFICATION_KEYS__Rot2025A", "UNO_JWT__VERIFICATION_KEYS__MAY"])
@pytest.mark.parametrize("json", [None, '{"april": "one"}'])
@pytest.mark.parametrize("dotenv", [False, True])
def test_the_name_of_a_variable_has_no_case_so_that_no_key_is_in_it(
    variable: str, json: str | None, dotenv: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {variable: "hunter2"} | ({variable.rpartition("__")[0]: json} if json else {})
    for name, value in ({} if dotenv else given).items():
        monkeypatch.setenv(name, value)
    write(dotenv="".join(f"{name}={value}\n" for name, value in given.items() if dotenv))
    with pytest.raises(Misconfigured) as raised:
        load()
    sentence = 'UNO_JWT_VERIFICATION_KEYS: must be JSON, {"name": "value", ...}, in this one variable'
    assert sentence in str(raised.value)
    assert "hunter2" not in str(raised.value)


def accepted(settings: JWTSettings) -> dict[str, str]:
    return {name: key.get_secret_value() for name, key in settings.verification_keys.items()}


def test_keys_by_id_come_from_one_source_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    write('[tool.uno.jwt]\nissuer = "us"\n[tool.uno.jwt.verification_keys]\nk1 = "one"\n')
    assert accepted(load().jwt) == {"k1": "one"}
    write(Path("pyproject.toml").read_text(), 'UNO_JWT_VERIFICATION_KEYS={"K2": "two"}\n')
    assert accepted(load().jwt) == {"K2": "two"}
    monkeypatch.setenv("UNO_JWT_VERIFICATION_KEYS", "{}")
    assert accepted(load().jwt) == accepted(read(JWTSettings)) == {}
    monkeypatch.setenv("UNO_JWT_VERIFICATION_KEYS", '{"k3": "three"}')
    assert accepted(load().jwt) == {"k3": "three"}
    assert accepted(load(jwt={"verification_keys": {}}).jwt) == {}
    assert accepted(JWTSettings(verification_keys={})) == {}
    assert accepted(cast(Any, Settings)(jwt={"verification_keys": {}}).jwt) == {}
    assert load(jwt={"verification_keys": {}}).jwt.issuer == "us"


class Till(BaseModel):
    colour: str = "grey"
    height: int = 0
    notes: dict[str, str] = {}


@dataclass
class Door:
    width: int = 0
    height: int = 0


class Furniture(Section):
    model_config = {
        "env_prefix": "FURNITURE_",
        "env_nested_delimiter": "__",
        "extra": "ignore",
        "pyproject_toml_table_header": ("tool", "uno", "furniture"),
    }
    till: Till | None = None
    door: Door = Door()
    prices: Mapping[str, int] | None = None
    other: Any = None


def test_what_has_fields_is_read_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    write(dotenv='FURNITURE_TILL={"height": 1, "notes": {"a": "b"}}\nFURNITURE_DOOR={"width": 1, "height": 1}\n')
    monkeypatch.setenv("FURNITURE_TILL__COLOUR", "red")
    monkeypatch.setenv("FURNITURE_DOOR__WIDTH", "2")
    furniture = cast(Any, Furniture)(till={"notes": {}}, _env_file=".env")
    assert furniture.till == Till(colour="red", height=1, notes={})
    assert furniture.door == Door(width=2, height=1)


def test_any_dict_of_a_section_comes_from_one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[tool.uno.furniture]\nother = {a = 1}\n", 'FURNITURE_PRICES={"a": 1}\n')
    monkeypatch.setenv("FURNITURE_PRICES", '{"B": 2}')
    furniture = cast(Any, Furniture)(other={}, _env_file=".env")
    assert (furniture.prices, furniture.other) == ({"B": 2}, {})
    monkeypatch.setenv("FURNITURE_PRICES__C", "3")
    with pytest.raises(Misconfigured, match="FURNITURE_PRICES: must be JSON"):
        read(Furniture)


UNKNOWN: dict[str, tuple[Callable[[], object], str]] = {
    "nearly": (lambda: cast(Any, JWTSettings)(secret="hunter2"), "JWTSettings has no secret; did you mean secret_key?"),
    "far": (lambda: cast(Any, ApiSettings)(qq="hunter2"), "ApiSettings has no qq; it has host, port, "),
    "a section": (lambda: load(dba={"url": "hunter2"}), "Settings has no dba; did you mean db?"),
    "in a section": (lambda: load(api={"prot": "hunter2"}), "ApiSettings has no prot; did you mean port?"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_argument_that_no_section_has_is_refused(name: str) -> None:
    make, sentence = UNKNOWN[name]
    with pytest.raises(Misconfigured) as raised:
        make()
    assert sentence in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_what_others_have_set_for_themselves_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[tool.uno.api]\nprot = 1\n", "UNO_API_PROT=1\n")
    monkeypatch.setenv("UNO_DB_PROT", "1")
    assert load().api.port == 8000


@pytest.mark.parametrize("value", ["inf", "nan", "1e400"])
def test_no_number_is_infinite(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["UNO_DB_COMMIT_TIMEOUT", "UNO_WORKER_LEASE", "UNO_OTEL_INTERVAL", "UNO_JWT_LEEWAY"]
    names += ["UNO_HOST_RATE_LIMIT", "UNO_HOST_CIRCUIT_BREAKER_TIMEOUT"]
    for name in names:
        monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as raised:
        load()
    assert [name for name in names if f"{name}: " not in str(raised.value)] == []


def test_another_file_of_variables_can_be_named() -> None:
    Path("other.env").write_text("UNO_API_PORT=1\nUNO_API__HOST=h\n")
    settings = cast(Any, ApiSettings)(_env_file="other.env")
    assert (settings.port, settings.host) == (1, "h")


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({}, 0.05),
        ({"UNO_ENV": "production"}, 0),
        ({"UNO_ENV": "test"}, 0),
        ({"UNO_BLOCKING_LIMIT": "0"}, 0),
        ({"UNO_ENV": "production", "UNO_BLOCKING_LIMIT": "0.2"}, 0.2),
    ],
)
def test_calls_that_block_are_looked_for_in_development(
    given: dict[str, str], limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load().guarded == limit


def test_a_blank_permission_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_API_MANAGEMENT", "  ")
    assert load().api.management == ""
