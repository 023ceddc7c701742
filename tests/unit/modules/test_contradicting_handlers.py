"""A handler that says something else than its message is found before anything is stored."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypedDict

import pytest
from pydantic import BaseModel

from uno.app import App
from uno.bus import Bus, command_handler, query_handler
from uno.errors import Misconfigured
from uno.messages import Command, Query
from uno.modules import Event, EventInput, EventOutput, Module, ModuleHost, ModuleHostConfig, handles
from uno.modules.errors import ModuleRegistrationError
from uno.result import Failure, Result, Success


class Order(BaseModel):
    id: str = ""


class Rush(Order):
    pass


class Row(TypedDict):
    id: str


class HasId(Protocol):
    id: str


class CreateOrder(Command[Order]):
    pass


class Count(Query[float]):
    pass


class GetRow(Query[Row]):
    pass


class Anything(Query[Any]):
    pass


def handler_of(message: Any, said: Any, wrap: Any = command_handler) -> Any:
    async def handle(given: Any) -> Any: ...

    handle.__annotations__["return"] = said
    return wrap(message)(handle)


def problems(*handlers: Any) -> list[str]:
    return [problem.message for problem in Bus(handlers).problems()]


CONTRADICTIONS = [str, None, Result[str], Success[str] | Failure, str | None, Annotated[str, "an id"], EventInput]


@pytest.mark.parametrize("said", CONTRADICTIONS, ids=str)
def test_a_result_that_contradicts_its_message_is_a_problem(said: Any) -> None:
    [found] = problems(handler_of(CreateOrder, said))
    assert found.startswith("It gives back ")
    assert found.endswith(", but CreateOrder promises Order; make them the same.")


def test_the_method_of_a_class_is_looked_at_too() -> None:
    @query_handler(Count)
    class Counting:
        async def handle(self, message: Count) -> str:
            return ""

    assert problems(Counting) == ["It gives back str, but Count promises float; make them the same."]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (CreateOrder, Order),
        (CreateOrder, Rush),
        (CreateOrder, BaseModel),
        (CreateOrder, object),
        (CreateOrder, Any),
        (CreateOrder, HasId),
        (CreateOrder, Result[Order]),
        (CreateOrder, Success[Rush] | Failure),
        (CreateOrder, Failure),
        (CreateOrder, Order | None),
        (CreateOrder, Order | str),
        (CreateOrder, list[str]),
        (CreateOrder, Awaitable[Order]),
        (Count, int),
        (GetRow, dict),
        (GetRow, Order),
        (Anything, str),
    ],
    ids=str,
)
def test_what_is_not_certainly_wrong_is_nobodys_business(message: Any, said: Any) -> None:
    assert problems(handler_of(message, said)) == []


# ── events ──


@dataclass
class QuoteInput(EventInput):
    sku: str = ""


@dataclass
class QuoteOutput(EventOutput):
    price: int = 0


class Quote(Event[QuoteInput, QuoteOutput]):
    name = "b.quote"


class WrongInput(Module):
    @handles(Quote)  # type: ignore[arg-type]
    def quote(self, event: Quote) -> QuoteOutput:
        return QuoteOutput()


class WrongOutput(Module):
    @handles(Quote)  # type: ignore[arg-type]
    async def quote(self, input: QuoteInput) -> str:
        return ""


class NoInput(Module):
    @handles(Quote)  # type: ignore[arg-type]
    def quote(self) -> QuoteOutput:
        return QuoteOutput()


class BareInput(EventInput):
    sku: str


class BareOutput(EventOutput):
    price: int


class Bare(Event[BareInput, BareOutput]):
    name = "b.bare"


class Undecorated(Module):
    @handles(Bare)
    def bare(self, input: BareInput) -> BareOutput:
        return BareOutput()


WRONG = [
    (WrongInput, "WrongInput.quote takes Quote, but the input of Quote is QuoteInput; make them the same."),
    (WrongOutput, "WrongOutput.quote gives back str, but the output of Quote is QuoteOutput; make them the same."),
    (NoInput, "NoInput.quote takes no input; write `def quote(self, input)`."),
    (Undecorated, "BareInput of Bare takes no sku: write @dataclass above the class."),
]


@pytest.mark.parametrize(("kind", "sentence"), WRONG)
def test_a_method_that_contradicts_its_event_is_a_problem(kind: type[Module], sentence: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        App(kind())
    assert sentence in {problem.message for problem in raised.value.problems}
    with ModuleHost(ModuleHostConfig()) as host, pytest.raises(ModuleRegistrationError) as refused:
        host.register(kind())
    assert str(refused.value) == sentence


def test_the_output_needs_its_decorator_too() -> None:
    with pytest.raises(Misconfigured, match="BareOutput of Bare takes no price: write @dataclass above the class"):
        App(Undecorated())


def test_inputs_that_make_themselves_are_fine() -> None:
    class Written:
        sku: str

        def __init__(self, sku: str) -> None:
            self.sku = sku

    class Ask(Event[Written, Order]):
        name = "b.ask"

    class Answering(Module):
        @handles(Ask)
        def ask(self, input: Written) -> Order:
            return Rush(id=input.sku)

    with ModuleHost(ModuleHostConfig()) as host:
        host.register(Answering())
        assert host.handle(Ask(input=Written("a"))).output == Rush(id="a")
