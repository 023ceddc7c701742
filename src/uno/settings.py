"""The settings tree. Each section has its own prefix: `UNO_DB_URL`, `UNO_API_PORT`, `UNO_WORKER_CONCURRENCY` …
(`UNO_DB__URL` means the same).

Precedence: arguments, environment, a `.env` file, `[tool.uno]` in `pyproject.toml`, defaults.
"""

import re
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from tomllib import TOMLDecodeError
from types import UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, cast, get_args, get_origin, is_typeddict

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from uno.errors import Misconfigured


def _config(prefix: str, *table: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=prefix,
        env_file=".env",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        # No time and no rate: what computes with them fails far from the name of the variable.
        allow_inf_nan=False,
        pyproject_toml_table_header=("tool", "uno", *table),
    )


S = TypeVar("S", bound="Section")


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


_Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]


# RFC 9110, sections 5.1 and 5.5, with a sign between that HTTP has otherwise.
_HEADER = re.compile(r"\s*[\w!#$%&'*+.^`|~-]+\s*=[^\x00-\x08\x0a-\x1f\x7f]*", re.ASCII)
# Seconds for which everybody else waits while one call keeps the event loop.
_NOTICEABLE = 0.05
# Minutes; longer no token is good for.
_CENTURY = 100 * 365 * 24 * 60
# RFC 7519, section 4.1, and uno's own.
_CLAIMS = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "token_use")


def _kinds(hint: Any) -> tuple[Any, ...]:
    """`X` and `None` of `X | None`."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fields(kind: Any) -> dict[str, Any]:
    """The fields of a section, of another model or of a dataclass, by the names that the sources have for them."""
    if is_dataclass(kind):
        return {field.name: field.type for field in fields(kind)}
    found: dict[str, FieldInfo] = getattr(kind, "model_fields", {})
    return {str(field.validation_alias or name): field.annotation for name, field in found.items()}


def _by_key(kind: Any) -> bool:
    plain = get_origin(kind) or kind
    return isinstance(plain, type) and issubclass(plain, Mapping) and not is_typeddict(plain)


def _left(model: Any, values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What of `values` is not `given` yet: a dict is one value, what has fields is looked at field by field."""
    left = {name: value for name, value in values.items() if name not in given}
    for name, hint in _fields(model).items():
        value, former = values.get(name), given.get(name)
        inner = next((kind for kind in _kinds(hint) if _fields(kind)), None)
        if inner and isinstance(value, Mapping) and isinstance(former, Mapping):
            left[name] = _left(inner, value, former)
    return left


class _Later(PydanticBaseSettingsSource):
    """A source after others; pydantic would add its dicts to theirs, so that nothing could be withdrawn."""

    def __call__(self) -> dict[str, Any]:
        return _left(self.settings_cls, super().__call__(), self.current_state)  # type: ignore[safe-super]


class _Pyproject(_Later, PyprojectTomlConfigSettingsSource):
    """`pyproject.toml`, parsed once for all sections."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        found = Path(file_path).stat()
        return deepcopy(_own_table(Path(file_path), found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=8)
def _own_table(path: Path, _changed: int, _size: int) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"tool": {"uno": tomllib.load(file).get("tool", {}).get("uno", {})}}


# No value of any type: a dict of several variables.
_IN_PARTS = object()


class _Env(_Later, EnvSettingsSource):
    """The environment. What has to be JSON, and is not, is refused with all that is wrong, by its name."""

    def prepare_field_value(self, field_name: str, field: Any, value: Any, value_is_complex: bool) -> Any:
        # The names of variables have no case, and the keys of a dict do.
        if any(map(_by_key, _kinds(field.annotation))):
            starts = tuple(f"{name}__" for _, name, _ in self._extract_field_info(field, field_name))
            if any(name.startswith(starts) for name in self.env_vars):
                return _IN_PARTS
        return super().prepare_field_value(field_name, field, value, value_is_complex)

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class _DotEnv(_Env, DotEnvSettingsSource):
    """The same for a `.env` file."""


class Section(BaseSettings):
    """A part of the tree, read from the environment under its own prefix.

    Raises `Misconfigured` for an argument that it does not have.
    """

    def __init__(self, **values: Any) -> None:
        # `_env_file` and such are pydantic's own. What others have set for themselves is not looked at.
        unknown = [name for name in values if name not in type(self).model_fields and not name.startswith("_")]
        if unknown:
            raise Misconfigured(_unknown(type(self), unknown[0]))
        super().__init__(**values)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        nested = f"{settings_cls.model_config.get('env_prefix')}_"
        file = cast(DotEnvSettingsSource, dotenv_settings).env_file
        return (
            init_settings,
            _Env(settings_cls),
            _Env(settings_cls, env_prefix=nested),
            _DotEnv(settings_cls, env_file=file),
            _DotEnv(settings_cls, env_file=file, env_prefix=nested),
            _Pyproject(settings_cls),
        )


class DatabaseSettings(Section):
    """`UNO_DB_*`. `url` is `postgresql://…`, `sqlite:///file.db` or `embedded:` (optionally with a folder)."""

    model_config = _config("UNO_DB_", "db")

    url: SecretStr | None = None
    pool_size: int = Field(default=5, ge=1)
    max_overflow: int = Field(default=10, ge=0)
    acquire_timeout: float = Field(default=10.0, gt=0)
    statement_timeout: float = Field(default=30.0, gt=0)
    commit_timeout: float = Field(default=30.0, gt=0)
    connect_timeout: float = Field(default=5.0, gt=0)
    breaker_failures: int = Field(default=5, ge=0)
    breaker_recovery: float = Field(default=5.0, gt=0)
    replica_url: SecretStr | None = None
    guards: Literal["off", "warn", "error"] | None = None
    repeated_reads: int = Field(default=30, ge=0)
    transaction_idle: float = Field(default=1.0, ge=0)
    idempotency_ttl: float = Field(default=24 * 60 * 60, gt=0, le=_CENTURY * 60)

    @property
    def guarding(self) -> Literal["off", "warn", "error"]:
        """What guards do: unless said otherwise they are errors in tests."""
        return self.guards or ("error" if _Stage().env == "test" else "warn")


class _Stage(Section):
    """`UNO_ENV` alone."""

    model_config = _config("UNO_")

    env: str = "development"


class ApiSettings(Section):
    """`UNO_API_*`: where `uno run` listens, the largest body in bytes, and what is open beside the routes. For `linger`
    seconds after it was told to stop it goes on listening: whoever sends requests has to see that it is not ready.
    `management` is the permission that /management asks for, or "authenticated", or "open"; empty there is none.
    """

    model_config = _config("UNO_API_", "api")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_body_bytes: int = Field(default=1024 * 1024, ge=1)
    docs: bool = True
    metrics: bool = False
    management: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    linger: float = Field(default=1.0, ge=0)


class WorkerSettings(Section):
    """`UNO_WORKER_*`; times in seconds."""

    model_config = _config("UNO_WORKER_", "worker")

    concurrency: int = Field(default=4, ge=1)
    poll_interval: float = Field(default=2.0, gt=0)
    lease: float = Field(default=30.0, gt=0)
    renew_interval: float | None = Field(default=None, gt=0)
    max_attempts: int = Field(default=5, ge=1)
    max_lost_leases: int = Field(default=5, ge=1)
    base_delay: float = Field(default=1.0, ge=0)
    max_delay: float = Field(default=300.0, ge=0)

    @property
    def renewal(self) -> float:
        """Seconds between two renewals of a lease: a third of it unless said otherwise."""
        return self.renew_interval or self.lease / 3

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.renewal > self.lease / 2:
            raise ValueError(
                f"UNO_WORKER_RENEW_INTERVAL ({self.renewal:g} s) must be at most half of "
                f"UNO_WORKER_LEASE ({self.lease:g} s), or running deliveries are taken for lost"
            )
        return self


class LogSettings(Section):
    """`UNO_LOG_*`; `format` is "json", "console", or "auto": console on a terminal."""

    model_config = _config("UNO_LOG_", "log")

    level: _Level = "INFO"
    format: Literal["auto", "json", "console"] = "auto"


class OtelSettings(Section):
    """`UNO_OTEL_*`. `endpoint` is the collector's base URL (OTLP over HTTP), without one nothing is sent. `headers` are
    `name=value` with commas between them. Times in seconds; `metrics_interval` 0 sends spans only.
    """

    # Both the headers and, by mistake, the endpoint may have secrets in them.
    model_config = {**_config("UNO_OTEL_", "otel"), "hide_input_in_errors": True}

    endpoint: str | None = None
    service_name: str = "uno"
    headers: SecretStr | None = None
    timeout: float = Field(default=10.0, gt=0)
    queue_size: int = Field(default=4096, ge=1)
    interval: float = Field(default=1.0, gt=0)
    metrics_interval: float = Field(default=60.0, ge=0)

    @field_validator("endpoint")
    @classmethod
    def _plain(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and (not endpoint.startswith(("http://", "https://")) or "@" in endpoint):
            raise ValueError("must be http://host:port or https://…; credentials belong into UNO_OTEL_HEADERS")
        return endpoint or None

    @field_validator("headers")
    @classmethod
    def _pairs(cls, headers: SecretStr | None) -> SecretStr | None:
        given = "" if headers is None else headers.get_secret_value()
        if not all(_HEADER.fullmatch(pair) for pair in given.split(",") if pair.strip()):
            raise ValueError("must be name=value, with commas between several of them")
        return headers


class JWTSettings(Section):
    """`UNO_JWT_*`. `algorithm` HS256 takes `secret_key`; RS256, ES256 and EdDSA take `private_key` to sign and
    `public_key` to verify only, each as PEM or as the name of a file. `verification_keys` are more that are accepted,
    by key id. `leeway` is in seconds, `permissions_claim` a list or a text with spaces.
    """

    model_config = _config("UNO_JWT_", "jwt")

    algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"] = "HS256"
    secret_key: SecretStr | None = None
    private_key: SecretStr | None = None
    public_key: str | None = None
    key_id: str | None = None
    verification_keys: dict[str, SecretStr] = {}
    access_token_expire_minutes: float = Field(default=30, gt=0, le=_CENTURY)
    refresh_token_expire_minutes: float = Field(default=7 * 24 * 60, gt=0, le=_CENTURY)
    audience: str | None = None
    issuer: str | None = None
    leeway: float = Field(default=0.0, ge=0, le=300)
    permissions_claim: str = "permissions"

    @field_validator("permissions_claim")
    @classmethod
    def _free(cls, name: str) -> str:
        if not name or name in _CLAIMS:
            raise ValueError(f"must name a claim of your own; these have a meaning: {', '.join(_CLAIMS)}")
        return name


class HostSettings(Section):
    """`UNO_HOST_*`: what stands around typed events. Zero switches a part off; times in seconds, rates per second."""

    model_config = _config("UNO_HOST_", "host")

    max_workers: int = Field(default=4, ge=1)
    propagate_exceptions: bool = True
    log_level: _Level = "INFO"
    enable_metrics: bool = False
    enable_tracing: bool = False
    rate_limit: float = Field(default=0.0, ge=0)
    rate_limit_burst: int = Field(default=10, ge=1)
    circuit_breaker_threshold: int = Field(default=0, ge=0)
    circuit_breaker_timeout: float = Field(default=30.0, gt=0)
    retry_max: int = Field(default=0, ge=0)
    retry_base_delay: float = Field(default=1.0, ge=0)
    dlq_size: int = Field(default=0, ge=0)


class Settings(Section):
    """Everything; `UNO_ENV` is "development", "test" or "production". `UNO_GRACE` is how many seconds what was begun
    has for finishing, once the process is told to stop. `UNO_BLOCKING_LIMIT` is how many seconds a call may keep the
    event loop before it is reported: 0.05 in development, elsewhere nothing is unless it is set; 0 is never.
    """

    model_config = _config("UNO_")

    env: Literal["development", "test", "production"] = "development"
    grace: float = Field(default=10.0, ge=0)
    blocking_limit: float | None = Field(default=None, ge=0)
    db: DatabaseSettings = Field(default_factory=DatabaseSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    otel: OtelSettings = Field(default_factory=OtelSettings)
    jwt: JWTSettings = Field(default_factory=JWTSettings)
    host: HostSettings = Field(default_factory=HostSettings)

    @property
    def guarded(self) -> float:
        """Seconds that a call may keep the event loop; 0 where nobody looks."""
        if self.blocking_limit is not None:
            return self.blocking_limit
        return _NOTICEABLE if self.env == "development" else 0.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _OwnEnv(settings_cls), _OwnDotEnv(settings_cls), _OwnPyproject(settings_cls)


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """Without the sections: each reads its own, or a file would win over the environment."""
    return {name: value for name, value in values.items() if name not in _SECTIONS}


class _OwnEnv(_Env):
    def __call__(self) -> dict[str, Any]:
        return _own(super().__call__())


class _OwnDotEnv(_DotEnv):
    def __call__(self) -> dict[str, Any]:
        return _own(super().__call__())


class _OwnPyproject(_Pyproject):
    def __call__(self) -> dict[str, Any]:
        return _own(super().__call__())


_SECTIONS: dict[str, type[Section]] = {
    "db": DatabaseSettings,
    "api": ApiSettings,
    "worker": WorkerSettings,
    "log": LogSettings,
    "otel": OtelSettings,
    "jwt": JWTSettings,
    "host": HostSettings,
}


# What `Settings` reads itself.
OWN = tuple(name for name in Settings.model_fields if name not in _SECTIONS)


def load(**overrides: Any) -> Settings:
    """The settings of this process; `Misconfigured` names every variable that is wrong."""
    wrong: list[str] = []
    try:
        parts = {
            name: _read(section, overrides.get(name), wrong) or section.model_construct()
            for name, section in _SECTIONS.items()
        }
        settings = _read(Settings, overrides | parts, wrong)
    except (SettingsError, TOMLDecodeError) as error:
        raise Misconfigured(f"The settings cannot be read: {error}.") from None
    if settings is None or wrong:
        raise Misconfigured(f"The settings are not valid: {'; '.join(wrong)}.")
    return settings


def read(section: type[S]) -> S:
    """One section by itself; `Misconfigured` names every variable that is wrong."""
    wrong: list[str] = []
    try:
        found = _read(section, None, wrong)
    except (SettingsError, TOMLDecodeError) as error:
        raise Misconfigured(f"The settings cannot be read: {error}.") from None
    if found is None:
        raise Misconfigured(f"The settings are not valid: {'; '.join(wrong)}.")
    return found


def _read(section: type[S], given: S | Mapping[str, Any] | None, wrong: list[str]) -> S | None:
    if isinstance(given, section):
        return given
    try:
        return section(**cast(Mapping[str, Any], given or {}))
    except ValidationError as error:
        wrong += [f"{_variable(section, e['loc'])}: {_told(e)}" for e in error.errors(include_input=False)]
        return None


def _told(error: Mapping[str, Any]) -> str:
    if error["type"] in ("dict_type", "mapping_type"):
        return 'must be JSON, {"name": "value", ...}, in this one variable'
    return "must be JSON, [value, ...]" if error["type"] == "list_type" else str(error["msg"])


def _unknown(section: type[Section], name: str) -> str:
    known = get_close_matches(name, section.model_fields, 1)
    fix = f"did you mean {known[0]}?" if known else f"it has {', '.join(section.model_fields)}."
    return f"{section.__name__} has no {name}; {fix}"


def _variable(section: type[Section], location: tuple[int | str, ...]) -> str:
    return str(section.model_config.get("env_prefix", "")) + "__".join(str(part).upper() for part in location)
