"""What a route behind a token costs, against the same route with joserfc called by hand."""

import secrets
from statistics import median
from time import perf_counter
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.measure import Line, Rounds, Section, in_turns, main, ratio, repeated
from benchmarks.startup import asking
from uno.api import AuthMiddleware, asgi, require_auth
from uno.app import App, Module, Route
from uno.bus import query_handler
from uno.messages import Query
from uno.security import JWTAuthProvider
from uno.settings import JWTSettings, Settings
from uno.testing.tokens import bad_tokens

TIMES = 1_000
SECRET = secrets.token_urlsafe(48)
KEY = OctKey.import_key(SECRET)
# What has to be there, and that it has not expired.
CLAIMS = jwt.JWTClaimsRegistry(exp={"essential": True}, sub={"essential": True})


class GetReport(Query[dict[str, str]]):
    text: str


@query_handler(GetReport)
async def report(query: GetReport) -> dict[str, str]:
    return {"text": query.text}


def by_hand(headers: Any) -> dict[str, Any]:
    """The claims of a request's token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise HTTPException(401)
    try:
        claims = jwt.decode(token, KEY, algorithms=["HS256"]).claims
        CLAIMS.validate(claims)
    except (JoseError, ValueError):
        raise HTTPException(401) from None
    return claims


def fastapi_by_hand() -> FastAPI:
    api = FastAPI()

    @api.get("/reports")
    async def reports(request: Request, text: str) -> dict[str, str]:
        by_hand(request.headers)
        return {"text": text}

    return api


def fastapi_guarded(provider: JWTAuthProvider) -> FastAPI:
    api = FastAPI()

    @api.get("/reports")
    @require_auth
    async def reports(text: str) -> dict[str, str]:
        return {"text": text}

    api.add_middleware(AuthMiddleware, provider=provider)
    return api


class ByHand:
    """What one would write around uno's open endpoint."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"user": by_hand(Request(scope).headers)}
        await self.app(scope, receive, send)


def uno_app(provider: JWTAuthProvider | None) -> App:
    route = Route(GetReport, path="/reports", access="open" if provider is None else "authenticated")
    return App(Module("bench", handlers=[report], routes=[route]), settings=Settings(), auth=provider)


async def routes(provider: JWTAuthProvider, rounds: int) -> list[Line]:
    token = await provider.create_token({"sub": "ada", "permissions": ["reports:read", "reports:write"]})
    header = (b"authorization", b"Bearer " + token.encode())
    is_open, guarded = uno_app(None), uno_app(provider)
    apps: dict[str, ASGIApp] = {
        "FastAPI by hand": fastapi_by_hand(),
        "FastAPI": fastapi_guarded(provider),
        "uno by hand": ByHand(asgi(is_open)),
        "uno": asgi(guarded),
        "uno open": asgi(is_open),
    }
    async with is_open, guarded:
        variants = {name: repeated(TIMES, asking(app, "/reports", header)) for name, app in apps.items()}
        for variant in variants.values():
            await variant()
        return _lines(await in_turns(2 * rounds, variants))


def _lines(figures: Rounds) -> list[Line]:
    note = {name: f"{median(found):.0f} µs" for name, found in figures.items()}
    return [
        Line("FastAPI, joserfc by hand in the endpoint", median(figures["FastAPI by hand"]), "µs"),
        Line(
            "FastAPI, AuthMiddleware and require_auth",
            ratio(figures, "FastAPI", "FastAPI by hand"),
            limit=1.3,
            note=note["FastAPI"],
        ),
        Line("uno endpoint without a token", median(figures["uno open"]), "µs"),
        Line("the same, joserfc by hand around it", median(figures["uno by hand"]), "µs"),
        Line('the same, access="authenticated"', ratio(figures, "uno", "uno by hand"), limit=1.3, note=note["uno"]),
    ]


async def refusals(provider: JWTAuthProvider) -> Line:
    """The bad token that takes the longest; each a few times, of which the fastest counts."""
    took: dict[str, float] = {}
    bad = bad_tokens(SECRET)
    for name, token in bad.items():
        for _ in range(3):
            started = perf_counter()
            if await provider.validate_token(token) is not None:
                raise RuntimeError(f"{name} was accepted.")
            took[name] = min(took.get(name, 1e9), (perf_counter() - started) * 1000)
    slowest = max(took, key=lambda name: took[name])
    return Line(f"the slowest of {len(bad)} bad tokens", took[slowest], "ms", limit=20.0, note=slowest)


async def measure(rounds: int) -> Section:
    provider = JWTAuthProvider(JWTSettings(secret_key=SECRET))
    lines = [*await routes(provider, rounds), await refusals(provider)]
    return Section("auth: CPU time of one request in process, HS256", lines)


if __name__ == "__main__":
    main(measure, rounds=7)
