"""What imports load, how long 300 handlers and 300 routes take to set up, and to find."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from time import process_time
from typing import Any
from uuid import uuid4

from benchmarks.measure import Line, Rounds, Section, in_turns, main, ratio, repeated

REQUESTS = 200
ROUNDS_OF_REQUESTS = 21

# Prints a JSON object: seconds of `import …`, and what it loaded beyond the standard library.
IMPORT = """
import json, sys, time
before = set(sys.modules)
started = time.perf_counter()
import {module}
took = time.perf_counter() - started
names = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(json.dumps([took, sorted(names - sys.stdlib_module_names - {{"uno"}})]))
"""
HEAVY = {"fastapi", "starlette", "sqlalchemy", "asyncpg", "aiosqlite", "sqlite3", "uvicorn", "dishka", "alembic"}


def _python(*arguments: str) -> Any:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def imported(module: str) -> Callable[[], Awaitable[float]]:
    """A variant: milliseconds of one import in a fresh process."""

    async def run() -> float:
        took, _ = await asyncio.to_thread(_python, "-c", IMPORT.format(module=module))
        return float(took) * 1000

    return run


def loaded(module: str) -> set[str]:
    return set(_python("-c", IMPORT.format(module=module))[1])


def built(what: str) -> Callable[[], Awaitable[float]]:
    """A variant: milliseconds of one step of `build()` in a fresh process."""

    async def run() -> float:
        return float(await asyncio.to_thread(_python, "-m", "benchmarks.startup", "--build", what))

    return run


def build(what: str) -> float:
    """What the fresh process does: one step, after the imports and definitions it needs."""
    from benchmarks.apps import many
    from uno.api import asgi

    defined, functions = many.definitions(), many.functions()
    # Each gives back the step to be timed.
    prepared: dict[str, Callable[[], Callable[[], Any]]] = {
        "app": lambda: lambda: asyncio.run(_started(many.uno_app(defined, routes=False))),
        "uno": lambda: partial(asgi, many.uno_app(defined)),
        "fastapi": lambda: partial(many.fastapi_app, functions),
        "uno openapi": lambda: asgi(many.uno_app(defined)).openapi,
        "fastapi openapi": lambda: many.fastapi_app(functions).openapi,
    }
    step = prepared[what]()
    started = process_time()
    step()
    return (process_time() - started) * 1000


async def _started(app: Any) -> None:
    async with app:
        pass


def imports() -> list[Line]:
    lines = [_loads("uno", loaded("uno"), "third-party packages")]
    for module in ("uno.domain", "uno.messages"):
        lines.append(_loads(module, loaded(module) & HEAVY, "web frameworks, ORMs, drivers, containers"))
    return lines


def _loads(module: str, found: set[str], what: str) -> Line:
    return Line(f"import {module}: {what}", len(found), "", limit=0, note=", ".join(sorted(found)))


async def times(rounds: int) -> list[Line]:
    modules = ("uno", "uno.messages", "uno.domain", "uno.app", "uno.api")
    figures = await in_turns(rounds, {module: imported(module) for module in modules})
    return [Line(f"import {module}", median(figures[module]), "ms") for module in modules]


async def building(rounds: int) -> list[Line]:
    steps = ("app", "uno", "fastapi", "uno openapi", "fastapi openapi")
    figures = await in_turns(rounds, {step: built(step) for step in steps})
    ms = {step: f"{median(figures[step]):.0f} ms" for step in steps}
    compared = f"{ms['uno']}, FastAPI {ms['fastapi']}"
    for name in ("uno", "fastapi"):
        figures[f"{name} both"] = [a + b for a, b in zip(figures[name], figures[f"{name} openapi"], strict=True)]
    both = f"{median(figures['uno both']):.0f} ms, FastAPI {median(figures['fastapi both']):.0f} ms"
    return [
        Line("App(…) of 300 handlers, made and started", median(figures["app"]), "ms", limit=150, note="after imports"),
        Line("asgi(app) with 300 routes, × FastAPI", ratio(figures, "uno", "fastapi"), limit=1.0, note=compared),
        Line("the same and its OpenAPI document", ratio(figures, "uno both", "fastapi both"), note=both),
    ]


def asking(app: Any, path: str, *headers: tuple[bytes, bytes]) -> Callable[[int], Awaitable[None]]:
    """`times` requests in process, without a socket."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"text=hello",
        "root_path": "",
        "headers": [(b"host", b"localhost"), *headers],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
        "asgi": {"version": "3.0"},
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status", 200))

    async def loop(times: int) -> None:
        for _ in range(times):
            await app(scope.copy(), receive, send)
        if set(statuses) != {200}:
            raise RuntimeError(f"{path} answered {set(statuses)}.")

    return loop


async def finding() -> list[Line]:
    """The first route against the last."""
    from benchmarks.apps import many
    from uno.api import asgi

    app = many.uno_app(many.definitions())
    api, fastapi = asgi(app), many.fastapi_app(many.functions())
    first, last = (many.path(n).format(thing_id=uuid4()) for n in (0, many.COUNT - 1))
    async with app:
        variants = {
            f"{name} {which}": repeated(REQUESTS, asking(one, path))
            for name, one in (("uno", api), ("FastAPI", fastapi))
            for which, path in (("first", first), ("last", last))
        }
        for variant in variants.values():
            await variant()
        figures = await in_turns(ROUNDS_OF_REQUESTS, variants)
    return [
        Line("a request to the last route, × the first", _last(figures, "uno"), limit=1.1, note=_both(figures, "uno")),
        Line("the same in FastAPI", _last(figures, "FastAPI"), note=_both(figures, "FastAPI")),
    ]


def _last(figures: Rounds, name: str) -> float:
    return ratio(figures, f"{name} last", f"{name} first")


def _both(figures: Rounds, name: str) -> str:
    return f"{median(figures[f'{name} first']):.0f} µs, last {median(figures[f'{name} last']):.0f} µs"


async def measure(rounds: int) -> Section:
    lines = [*imports(), *await times(rounds), *await building(rounds), *await finding()]
    return Section("start-up: fresh processes; routes", lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        print(json.dumps(build(sys.argv[2])))
    else:
        main(measure, rounds=5)
