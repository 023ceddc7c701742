"""problems(): everything that is wrong, at once, with the way to it."""

from collections.abc import Iterator
from typing import Protocol

import pytest

from uno.di import Dependency, ServiceProvider, dependencies_of, scoped, singleton, transient, value
from uno.errors import Misconfigured, Problem


class Gateway(Protocol):
    def charge(self) -> None: ...


class Ghost: ...


@scoped
class Session: ...


@transient
class Reader:
    def __init__(self, session: Session) -> None: ...


@singleton
class Cache:
    def __init__(self, reader: Reader) -> None: ...


@scoped
class Payments:
    def __init__(self, gateway: Gateway) -> None: ...


@scoped
class Checkout:
    def __init__(self, payments: Payments, session: Session) -> None: ...


@singleton
class Hen:
    def __init__(self, egg: "Egg") -> None: ...


@singleton
class Egg:
    def __init__(self, nest: "Nest") -> None: ...


@singleton
class Nest:
    def __init__(self, hen: Hen) -> None: ...


@singleton
class Search:
    def __init__(self, vector_search_factory, limit=3) -> None: ...  # type: ignore[no-untyped-def]


@singleton(provides=Session)
class OtherSession: ...


def test_all_problems_are_found_at_once_and_drawn() -> None:
    provider = ServiceProvider([Nest, Hen, Egg, Payments, Search, Cache, Reader, Session, Checkout, OtherSession])
    text = str(Misconfigured.of(provider.problems()))
    where = f"{__name__}."
    assert text == (
        "The application cannot start: 5 problems.\n"
        "1. captive dependency: Cache\n"
        "   Cache is a singleton and would keep one Session for ever, but Session is scoped: "
        "mark Cache @scoped, or take Session where it is used.\n"
        "   Cache → Reader → Session\n"
        "2. cyclic dependency: Egg\n"
        "   Each of them needs the next one before it can be made: "
        "move what they share into a third, or let one take what it needs where it uses it.\n"
        "   Egg → Nest → Hen → Egg\n"
        "3. duplicate provider: Session\n"
        f"   It is provided by {where}Session and by {where}OtherSession: "
        "keep one, or give each a type of its own with provides=.\n"
        "4. missing provider: Gateway\n"
        "   Payments needs it as `gateway` and nothing provides it: "
        "mark a class or a factory for it with @singleton, @scoped or @transient, or pass value(…, Gateway).\n"
        "   Checkout → Payments → Gateway\n"
        "5. unannotated parameter: Search(vector_search_factory)\n"
        "   The parameter `vector_search_factory` says nothing it could be resolved by: "
        "annotate it with the type it needs, or give it a default."
    )


def test_a_right_graph_has_no_problems() -> None:
    assert ServiceProvider([Session, Reader]).problems() == []


def test_the_same_provider_listed_twice_is_one() -> None:
    given = value(Ghost())
    assert ServiceProvider([Session, Session, given, given]).problems() == []


def test_something_that_needs_itself_is_a_cycle_of_one() -> None:
    @singleton
    class Narcissus: ...

    Narcissus.__init__ = lambda self, other: None  # type: ignore[method-assign,misc,assignment]
    Narcissus.__init__.__annotations__ = {"other": Narcissus}
    [problem] = ServiceProvider([Narcissus]).problems()
    assert problem.path == ("Narcissus", "Narcissus")


def test_each_missing_provider_is_reported_for_each_that_needs_it() -> None:
    @singleton
    class One:
        def __init__(self, ghost: Ghost, gateway: Gateway) -> None: ...

    @singleton
    class Two:
        def __init__(self, ghost: Ghost) -> None: ...

    found = ServiceProvider([One, Two]).problems()
    assert [(p.kind, p.path) for p in found] == [
        ("missing provider", ("One", "Ghost")),
        ("missing provider", ("One", "Gateway")),
        ("missing provider", ("Two", "Ghost")),
    ]


def test_a_singleton_that_needs_something_ambient_is_captive() -> None:
    @singleton
    class Keeper:
        def __init__(self, ghost: Ghost) -> None: ...

    [problem] = ServiceProvider([Keeper], ambient={Ghost: Ghost}).problems()
    assert problem.kind == "captive dependency"
    assert "Ghost is another one for each message" in problem.message


def test_a_singleton_that_needs_a_transient_to_be_closed_is_captive() -> None:
    @transient
    def opened() -> Iterator[Ghost]:
        yield Ghost()

    @singleton
    class Keeper:
        def __init__(self, ghost: Ghost) -> None: ...

    [problem] = ServiceProvider([opened, Keeper]).problems()
    assert problem.kind == "captive dependency"
    assert "Ghost is closed with its scope" in problem.message


def test_an_optional_dependency_that_is_provided_is_checked_like_any_other() -> None:
    @singleton
    class Keeper:
        def __init__(self, session: Session | None = None) -> None: ...

    assert [p.kind for p in ServiceProvider([Session, Keeper]).problems()] == ["captive dependency"]
    assert ServiceProvider([Keeper]).problems() == []


def test_an_ambient_type_that_is_also_provided_is_a_duplicate() -> None:
    [problem] = ServiceProvider([Session], ambient={Session: Session}).problems()
    assert problem.kind == "duplicate provider"
    assert "provided by the framework and by" in problem.message


class Card:
    def charge(self) -> None: ...


class Visa(Card): ...


def test_the_fix_names_what_is_close() -> None:
    @singleton
    class Buys:
        def __init__(self, card: Card) -> None: ...

    as_gateway = singleton(provides=Gateway)(type("Provided", (Card,), {}))
    visa = singleton(type("Visa", (Card,), {}))
    elsewhere = singleton(type("Card", (), {"__module__": "elsewhere"}))

    def fix(*providers: object) -> str:
        [problem] = ServiceProvider([Buys, *providers]).problems()
        return problem.message.partition("provides it: ")[2]

    assert fix(visa) == "Visa is one, mark it with provides=Card."
    assert fix(as_gateway) == "Provided is one, mark it with provides=Card."
    assert fix(elsewhere) == f"elsewhere.Card is provided, which is not {__name__}.Card; import it from one place."
    asks_for_provided = singleton(type("Asks", (), {}))
    asks_for_provided.__init__ = lambda self, it: None  # type: ignore[misc]
    asks_for_provided.__init__.__annotations__ = {"it": as_gateway}  # type: ignore[misc]
    [problem] = ServiceProvider([as_gateway, asks_for_provided]).problems()
    assert problem.message.endswith("Provided is provided as Gateway, ask for that.")


# ── problems_for ──


def test_the_parameters_of_a_handler_are_asked_the_same() -> None:
    provider = ServiceProvider([Session, Reader])
    found = provider.problems_for("PlaceOrder", [Gateway, Reader], "singleton")
    assert [(p.kind, p.path) for p in found] == [
        ("missing provider", ("PlaceOrder", "Gateway")),
        ("captive dependency", ("PlaceOrder", "Reader", "Session")),
    ]
    assert [p.kind for p in provider.problems_for("PlaceOrder", [Gateway, Reader], "scoped")] == ["missing provider"]
    assert provider.problems_for("PlaceOrder", [Reader | None]) == []


def test_dependencies_as_they_are_read_give_names_and_unannotated_parameters() -> None:
    def handle(gateway: Gateway, search, size: int = 3) -> None: ...  # type: ignore[no-untyped-def]

    found = ServiceProvider([]).problems_for("handle", dependencies_of(handle))
    assert found[0].message.startswith("handle needs it as `gateway` and nothing provides it")
    assert (found[1].kind, found[1].where) == ("unannotated parameter", "handle(search)")
    assert len(found) == 2


def test_problems_of_the_providers_are_not_repeated_for_a_handler() -> None:
    provider = ServiceProvider([Payments])
    assert len(provider.problems()) == 1
    assert provider.problems_for("Pay", {"payments": Dependency(Payments)}) == []


@pytest.mark.parametrize("lifetime", ["singleton", "scoped", "transient"])
def test_asking_leaves_nothing_behind(lifetime: str) -> None:
    provider = ServiceProvider([Session])
    before: list[Problem] = provider.problems()
    provider.problems_for("Handler", [Ghost], lifetime)  # type: ignore[arg-type]
    assert provider.problems() == before == []
    assert not provider.provides("Handler")
