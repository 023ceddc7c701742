"""ModuleHostConfig: its defaults, and UNO_HOST_* in the environment."""

import logging

import pytest

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


def test_the_log_level_of_the_newest_host_is_that_of_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("uno.modules")
    before = logger.level
    try:
        for level in ("DEBUG", "info", "WARNING"):
            ModuleHost(ModuleHostConfig(log_level=level)).register(Module())
            assert logger.level == getattr(logging, level.upper())
        assert logger.propagate
        caplog.clear()
        assert logging.getLogger().level == logging.WARNING
        ModuleHost(ModuleHostConfig(log_level="INFO")).register(Module("told"))
        assert [record.getMessage() for record in caplog.records] == ["Registered module told"]
    finally:
        logger.setLevel(before)
