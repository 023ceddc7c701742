"""`/metrics`: Prometheus' text, or for a `ModuleHost` JSON."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uno import telemetry
from uno.api.health import Answer, add_once
from uno.app import App
from uno.modules.host import ModuleHost
from uno.telemetry import Metrics

_NO_STORE = {"Cache-Control": "no-store"}


def add_metrics_endpoint(
    app: FastAPI, source: App | Metrics | ModuleHost, path: str = "/metrics", *, version: str = ""
) -> None:
    """Add the figures of `source`: text in Prometheus' format (extra `metrics`), for a `ModuleHost` JSON.

    They say what an application does and how much: keep the path from strangers. Raises
    `Misconfigured` if the application has the path already.
    """
    add_once(app, {path: of_host(source, version) if isinstance(source, ModuleHost) else prometheus(source)})


def prometheus(source: App | Metrics) -> Answer:
    """Answers with all metrics as text. Raises `Misconfigured` where the extra is missing."""
    exposition, media_type = telemetry.exposition, "text/plain; version=0.0.4; charset=utf-8"
    figures = source.metrics if isinstance(source, App) else source

    async def metrics(_request: Request) -> Response:
        return Response(await exposition(figures), headers=_NO_STORE, media_type=media_type)

    return metrics


def of_host(host: ModuleHost, version: str = "") -> Answer:
    async def metrics(_request: Request) -> Response:
        return JSONResponse(figures_of(host, version), headers=_NO_STORE)

    return metrics


def figures_of(host: ModuleHost, version: str = "") -> dict[str, Any]:
    """What a host counted, what it has, and what stands around it."""
    config, names = host.config, [one.metadata.name or one.name for one in host.modules]
    figures: dict[str, Any] = {
        "uptime_seconds": round(host.uptime_seconds, 3),
        "version": version,
        "events": {"metrics_enabled": False} if host.metrics is None else host.metrics.to_dict(),
        "modules": {"count": len(names), "names": names},
        "resilience": {
            "rate_limiter": config.rate_limiter is not None,
            "circuit_breaker": config.circuit_breaker is not None,
            "retry_policy": config.retry_policy is not None,
            # Not its truth: an empty queue is false.
            "dead_letter_queue": config.dead_letter_queue is not None,
        },
    }
    if config.circuit_breaker is not None:
        figures["circuit_breaker_state"] = config.circuit_breaker.state.value
    if config.dead_letter_queue is not None:
        figures["dlq_size"] = len(config.dead_letter_queue)
    return figures
