"""What is plainly something else than it has to be is told in one sentence with the cure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from uno.api import api_endpoint
from uno.app import App, Route
from uno.bus import Bus, command_handler, event_handler, query_handler
from uno.errors import Invalid, Misconfigured
from uno.health import Check
from uno.messages import Command
from uno.modules import (
    Event,
    EventHandlingError,
    EventInput,
    EventOutput,
    Module,
    ModuleHost,
    ModuleHostConfig,
    handles,
)
from uno.resilience import Bulkhead, CircuitBreaker, RateLimiter, RetryPolicy, Timeout
from uno.security import JWTAuthProvider, JWTSettings, TokenClaims

SECRET = "a secret of forty letters, for tests only"


class CreateX(Command[str]):
    pass


@command_handler(CreateX)
async def cx(command: CreateX) -> str:
    return "x"


@dataclass
class QuoteInput(EventInput):
    sku: str = ""


@dataclass
class QuoteOutput(EventOutput):
    price: int = 0


class Quote(Event[QuoteInput, QuoteOutput]):
    name = "b.quote"


class B(Module):
    @handles(Quote)
    def quote(self, input: QuoteInput) -> QuoteOutput:
        return QuoteOutput(1)


def wrong(value: object) -> Any:
    """What a type checker would refuse."""
    return cast(Any, value)


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "a module class": (lambda: App(wrong(B)), r"B is a class; make a module of it: App\(B\(\)\)"),
    "no module": (lambda: App(wrong("x")), "App takes modules only"),
    "a route by name": (lambda: App(Module("m", routes=wrong(["CreateY"]))), "'CreateY' in the routes of m is no "),
    "a route of a name": (lambda: App(Module("m", routes=[Route(wrong("CreateY"))])), "'CreateY' in the routes of m"),
    "one route": (lambda: App(Module("m", routes=wrong(CreateX))), r"write routes=\[CreateX\]"),
    "one handler": (lambda: App(Module("m", handlers=wrong(cx))), r"write handlers=\[cx\]"),
    "a plain check": (lambda: App(Module("m", checks=wrong([lambda: True]))), r"wrap it in Check\('name', function\)"),
    "a provider class": (lambda: App(B(), auth=wrong(JWTAuthProvider)), r"auth=JWTAuthProvider\(\.\.\.\)"),
    "no provider": (lambda: App(B(), auth=wrong("secret")), "give an AuthProvider"),
    "an event by name": (lambda: handles(wrong("b.quote")), "the class of an event"),
    "a command of dict": (lambda: command_handler(wrong(dict)), r"as in @command_handler\(DoIt\), not dict"),
    "no brackets": (lambda: query_handler(wrong(cx)), r"@query_handler takes the class of a message.*not cx"),
    "a subscriber by name": (lambda: event_handler(wrong("paid"))(cx), "@event_handler takes the class of a message"),
    "a breaker": (lambda: CircuitBreaker("x", failure_threshold=wrong("5")), "failure_threshold.*is a number, not '5'"),
    "a timeout": (lambda: Timeout(wrong("1")), "seconds of a Timeout is a number"),
    "a retry": (lambda: RetryPolicy(max_retries=wrong("3")), "max_retries of a RetryPolicy is a number"),
    "a limiter": (lambda: RateLimiter(rate=wrong("3")), "rate of a RateLimiter is a number"),
    "a bulkhead": (lambda: Bulkhead(wrong("3")), "max_concurrent of a Bulkhead is a number"),
    "permissions as text": (lambda: api_endpoint(required_permissions=wrong("b:write")), r"is a list: \['b:write'\]"),
    "permissions of bytes": (lambda: api_endpoint(required_permissions=wrong(b"b:write")), "is a list"),
    "a permission of 1": (lambda: api_endpoint(required_permissions=wrong([1])), "has 1; name each"),
    "an empty permission": (lambda: api_endpoint(required_permissions=[""]), "has ''; name each"),
    "a number": (lambda: api_endpoint(required_permissions=wrong(1)), "is a list"),
    "claims of letters": (lambda: claims(permissions="abc"), r"TokenClaims.permissions is a list: \['abc'\]"),
    "claims of numbers": (lambda: claims(permissions=[1]), "is a list of names"),
    "claims without time": (lambda: TokenClaims("a", wrong("tomorrow"), wrong("now")), "need a time zone"),
}


def claims(**given: Any) -> TokenClaims:
    now = datetime.now(UTC)
    return TokenClaims("ada", now, now, **given)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_plain_mistake_is_one_sentence(name: str) -> None:
    make, sentence = MISTAKES[name]
    with pytest.raises(Misconfigured, match=sentence):
        make()


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(Misconfigured) as raised:
        App(wrong(B), Module("m", routes=wrong(["CreateY"])), auth=wrong(JWTAuthProvider))
    assert [problem.kind for problem in raised.value.problems] == ["wrong auth", "wrong module", "wrong route"]


def test_a_secret_in_the_place_of_settings_is_not_shown() -> None:
    with pytest.raises(Misconfigured, match="JWTSettings") as raised:
        JWTAuthProvider(wrong(SECRET))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("exp", ["tomorrow", None, [], float("inf"), 1e300])
async def test_a_token_that_ends_at_no_time_is_refused(exp: Any) -> None:
    provider = JWTAuthProvider(JWTSettings(secret_key=wrong(SECRET)))
    with pytest.raises(Invalid, match="The exp of a token is a datetime or a number"):
        await provider.create_token({"sub": "ada", "exp": exp})


async def test_a_text_as_the_permissions_of_a_token_is_names_and_not_letters() -> None:
    provider = JWTAuthProvider(JWTSettings(secret_key=wrong(SECRET)))
    found = await provider.validate_token(await provider.create_token({"sub": "ada", "permissions": "read write"}))
    assert found is not None
    assert found.permissions == ["read", "write"]


async def test_what_is_no_event_is_refused_by_the_host() -> None:
    async with ModuleHost(ModuleHostConfig()) as host:
        host.register(B())
        for given, sentence in (("x", "takes events, not str"), (Quote, "not their classes")):
            with pytest.raises(Misconfigured, match=sentence):
                await host.handle_async(wrong(given))
            with pytest.raises(Misconfigured, match=sentence):
                host.handle(wrong(given))


def test_an_error_about_something_without_a_name_can_be_shown() -> None:
    assert str(EventHandlingError("Failed", wrong("x"))) == "Failed | Event: str"


async def test_a_class_in_the_place_of_a_message_is_named() -> None:
    async with App(B()) as app:
        with pytest.raises(Misconfigured, match=r"Quote is a class; dispatch a message of it: Quote\(\.\.\.\)"):
            await app.bus.dispatch(wrong(Quote))
    with pytest.raises(Misconfigured, match="CreateX is a class"):
        await Bus([cx]).dispatch(wrong(CreateX))


@pytest.mark.parametrize("database", [None, "sqlite://"])
def test_two_health_checks_of_one_name_are_refused(database: str | None) -> None:
    async def well() -> None: ...

    twins = ["x", "x"] if database is None else ["database"]
    with pytest.raises(Misconfigured, match=f"duplicate check: {twins[0]}\n.*2 health checks are called {twins[0]};"):
        App(Module("shop", checks=[Check(name, well) for name in twins]), database=database)
