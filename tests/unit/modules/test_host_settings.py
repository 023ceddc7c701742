"""ModuleHostConfig: its defaults, and UNO_HOST_* in the environment."""

import logging
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from uno.app import App
from uno.errors import Misconfigured
from uno.modules import Module, ModuleHost, ModuleHostConfig
from uno.resilience import CircuitBreaker, DeadLetterQueue, RateLimiter, RetryPolicy
from uno.settings import load


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without a .env file or a pyproject.toml that could say something."""
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))


@pytest.mark.usefixtures("nowhere")
def test_by_default_there_is_nothing_around_events() -> None:
    assert ModuleHostConfig.from_env() == ModuleHostConfig()
    config = ModuleHost().config
    assert (config.max_workers, config.propagate_exceptions, config.log_level) == (4, True, "INFO")
    assert (config.on_error, config.on_event_start, config.on_event_end) == (None, None, None)
    assert not config.enable_metrics
    assert config.rate_limiter is config.circuit_breaker is config.retry_policy is config.dead_letter_queue is None


@pytest.mark.usefixtures("nowhere")
def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "MAX_WORKERS": "8",
        "PROPAGATE_EXCEPTIONS": "False",
        "LOG_LEVEL": "warning",
        "ENABLE_METRICS": "TRUE",
        "ENABLE_TRACING": "true",
        "RATE_LIMIT": "100",
        "RATE_LIMIT_BURST": "20",
        "CIRCUIT_BREAKER_THRESHOLD": "7",
        "CIRCUIT_BREAKER_TIMEOUT": "5",
        "RETRY_MAX": "2",
        "RETRY_BASE_DELAY": "0.5",
        "DLQ_SIZE": "50",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"UNO_HOST_{name}", value)
    config = ModuleHostConfig.from_env()
    assert (config.max_workers, config.propagate_exceptions, config.log_level) == (8, False, "WARNING")
    assert (config.enable_metrics, config.enable_tracing) == (True, True)
    assert isinstance(config.rate_limiter, RateLimiter)
    assert (config.rate_limiter.rate, config.rate_limiter.burst) == (100, 20)
    assert isinstance(config.circuit_breaker, CircuitBreaker)
    assert (config.circuit_breaker.failure_threshold, config.circuit_breaker.recovery_timeout) == (7, 5)
    assert isinstance(config.retry_policy, RetryPolicy)
    assert (config.retry_policy.max_retries, config.retry_policy.base_delay) == (2, 0.5)
    assert isinstance(config.dead_letter_queue, DeadLetterQueue)
    assert config.dead_letter_queue.max_size == 50


@pytest.mark.usefixtures("nowhere")
def test_zero_switches_a_part_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RATE_LIMIT", "CIRCUIT_BREAKER_THRESHOLD", "RETRY_MAX", "DLQ_SIZE"):
        monkeypatch.setenv(f"UNO_HOST_{name}", "0")
    assert ModuleHostConfig.from_env() == ModuleHostConfig()


@pytest.mark.usefixtures("nowhere")
def test_wrong_variables_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_HOST_MAX_WORKERS", "none")
    monkeypatch.setenv("UNO_HOST_RATE_LIMIT", "-1")
    with pytest.raises(Misconfigured, match=r"UNO_HOST_MAX_WORKERS.*UNO_HOST_RATE_LIMIT"):
        ModuleHostConfig.from_env()


@pytest.mark.usefixtures("nowhere")
def test_an_application_has_the_section_among_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_HOST_MAX_WORKERS", "3")
    assert load().host.max_workers == 3
    assert load(host={"max_workers": 2}).host.max_workers == 2


def test_a_host_needs_a_thread() -> None:
    with pytest.raises(Misconfigured, match="max_workers is 0"):
        ModuleHostConfig(max_workers=0)


WRONG: list[tuple[str, Any, str]] = [
    ("max_workers", "x", "a whole number, not 'x'."),
    ("max_workers", True, "a whole number, not True."),
    ("propagate_exceptions", "false", "True or False, not 'false'."),
    ("enable_metrics", 1, "True or False, not 1."),
    ("log_level", 10, 'the name of a level, such as "INFO", not 10.'),
    ("log_level", "LOUD", "the name of a level, such as \"INFO\", not 'LOUD'."),
    ("on_error", "x", "a function, not str."),
    ("rate_limiter", "redis://:sesame@host", "a RateLimiter, as in RateLimiter(rate=100), not str."),
    ("rate_limiter", 100, "a RateLimiter, as in RateLimiter(rate=100), not int."),
    ("retry_policy", 3, "a RetryPolicy, as in RetryPolicy(max_retries=3), not int."),
    ("dead_letter_queue", [], "a DeadLetterQueue, as in DeadLetterQueue(max_size=1000), not list."),
    ("circuit_breaker", 5, "a CircuitBreaker, as in CircuitBreaker(failure_threshold=5), not int."),
]


@pytest.mark.parametrize(("field", "value", "what"), WRONG)
def test_what_a_field_cannot_be_is_refused_by_its_name(field: str, value: Any, what: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        ModuleHostConfig(**{field: value})
    assert str(caught.value) == f"{field} takes {what}"


@pytest.mark.parametrize("field", ["rate_limiter", "circuit_breaker", "retry_policy", "dead_letter_queue"])
def test_a_class_in_the_place_of_its_instance_is_refused(field: str) -> None:
    kinds = {"rate_limiter": RateLimiter, "circuit_breaker": CircuitBreaker, "retry_policy": RetryPolicy}
    with pytest.raises(Misconfigured, match=rf"^{field} takes a .*, not the class "):
        ModuleHostConfig(**{field: kinds.get(field, DeadLetterQueue)})  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{}, {"max_workers": 3}, ModuleHostConfig], ids=repr)
def test_a_host_takes_a_configuration_only(given: Any) -> None:
    kind = "ModuleHostConfig" if given is ModuleHostConfig else "dict"
    with pytest.raises(Misconfigured, match=rf"ModuleHost takes a ModuleHostConfig, not {kind}: ModuleHost\("):
        ModuleHost(given)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """That of the hosts, as if none had been made before."""
    logger = logging.getLogger("uno.modules")
    before = logger.level
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.setLevel(before)


@pytest.mark.usefixtures("nowhere")
def test_who_names_no_log_level_leaves_the_logger_alone(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    for host in (ModuleHost(), ModuleHost(ModuleHostConfig()), ModuleHost(deepcopy(ModuleHostConfig.from_env()))):
        host.register(Module("quiet"))
    assert logger.level == logging.NOTSET
    assert logging.getLogger().level == logging.WARNING
    assert caplog.records == []
    ModuleHost(ModuleHostConfig(log_level="DEBUG"))
    ModuleHost()
    assert App(settings=load()).host.config.log_level == "INFO"
    assert logger.level == logging.DEBUG


@pytest.mark.usefixtures("nowhere")
def test_a_log_level_in_the_environment_is_named(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_HOST_LOG_LEVEL", "info")
    ModuleHost()
    assert logger.level == logging.INFO
    App(settings=load(host={"log_level": "ERROR"}))
    assert logger.level == logging.ERROR


def test_the_log_level_that_the_newest_host_names_is_that_of_the_logger(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    for level in ("DEBUG", "info", "WARNING"):
        ModuleHost(ModuleHostConfig(log_level=level)).register(Module())
        assert logger.level == getattr(logging, level.upper())
    assert logger.propagate
    caplog.clear()
    assert logging.getLogger().level == logging.WARNING
    ModuleHost(ModuleHostConfig(log_level="INFO")).register(Module("told"))
    assert [record.getMessage() for record in caplog.records] == ["Registered module told"]
