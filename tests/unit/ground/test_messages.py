"""Messages: frozen, strict, named, and saying what their handler gives back."""

import json
import pickle
import random
import warnings
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar, Generic, TypeVar

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, ValidationError
from ulid import ULID

from uno import clock, ids
from uno.context import Context
from uno.errors import Misconfigured
from uno.messages import Command, DomainEvent, Envelope, Message, Query, message_name, result_type

T = TypeVar("T")


class Order(BaseModel):
    id: str


class PlaceOrder(Command[Order]):
    sku: str
    quantity: int = 1
    price: Decimal = Decimal(0)
    tags: tuple[str, ...] = ()


class PlaceGift(PlaceOrder):
    card: str = ""


class GetOrder(Query["Order"]):
    order_id: str


class Forget(Command[None]):
    pass


class Untyped(Command[Any]):
    pass


class Tagged(Generic[T]):
    """Something generic that has nothing to do with messages."""


class ListOrders(Query[list[Order]]):
    pass


class Mixed(ListOrders, Tagged[int]):
    pass


class OrderPlaced(DomainEvent):
    order_id: str
    customer_id: str
    total: Decimal = Decimal(0)


class GiftPlaced(OrderPlaced):
    gift_id: str = "g"


class Tick(DomainEvent):
    pass


class Renamed(DomainEvent):
    name: ClassVar[str] = "shop.renamed"
    version: ClassVar[int] = 3

    customer_id: str | None = None

    @property
    def aggregate_id(self) -> str | None:
        return "overridden"


class MaybeOwned(DomainEvent):
    owner_id: str | None = None


# ── frozen and strict ──


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        PlaceOrder(sku="a").sku = "b"  # type: ignore[misc]


@pytest.mark.parametrize("message", [PlaceOrder, PlaceGift, OrderPlaced])
def test_a_message_refuses_fields_it_does_not_have(message: type[Message]) -> None:
    given = {"sku": "a", "order_id": "o", "customer_id": "c", "colour": "red"}
    known = {k: v for k, v in given.items() if k in message.model_fields}
    assert message(**known)
    with pytest.raises(ValidationError, match="colour"):
        message(**known, colour="red")


def test_equal_messages_are_equal_and_can_be_in_a_set() -> None:
    assert {PlaceOrder(sku="a"), PlaceOrder(sku="a")} == {PlaceOrder(sku="a")}
    assert PlaceOrder(sku="a") != PlaceGift(sku="a")


# ── names ──


def test_a_message_is_stored_under_its_module_and_class() -> None:
    assert message_name(PlaceOrder) == PlaceOrder.name == f"{__name__}.PlaceOrder"  # type: ignore[attr-defined]
    assert message_name(PlaceGift) == f"{__name__}.PlaceGift"


def test_a_message_may_have_a_stable_name_of_its_own() -> None:
    assert message_name(Renamed) == Renamed.name == "shop.renamed"


def test_a_name_is_not_inherited() -> None:
    class More(Renamed):
        pass

    assert message_name(More).endswith(".More")
    assert message_name(Renamed) == "shop.renamed"


def test_a_field_called_name_is_an_ordinary_field() -> None:
    class CreateUser(Command[None]):
        name: str

    assert CreateUser(name="Ada").name == "Ada"
    assert message_name(CreateUser).endswith("CreateUser")
    with pytest.raises(ValidationError, match="name"):
        CreateUser()  # type: ignore[call-arg]


def test_a_field_called_name_is_required_below_another_message_too() -> None:
    class About(Command[None]):
        pass

    class Rename(About):
        name: str

    class RenameTwice(Rename):
        again: str = ""

    assert Rename(name="Ada").name == "Ada"
    for message in (Rename, RenameTwice):
        with pytest.raises(ValidationError, match="name"):
            message()  # type: ignore[call-arg]
    assert message_name(About).endswith(".About")
    assert message_name(RenameTwice).endswith(".RenameTwice")


# ── what the handler gives back ──


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (PlaceOrder, Order),
        (PlaceGift, Order),
        (GetOrder, "Order"),
        (Forget, None),
        (Untyped, Any),
        (Mixed, list[Order]),
        (OrderPlaced, None),
    ],
)
def test_a_message_says_what_its_handler_gives_back(message: type[Message], expected: Any) -> None:
    assert result_type(message) == expected


def test_a_generic_message_of_the_user_says_it_where_it_is_filled_in() -> None:
    class Fetch(Query[T]):
        id: str

    class FetchOrder(Fetch[Order]):
        pass

    assert result_type(FetchOrder) is Order
    assert FetchOrder(id="1").id == "1"


def test_the_type_of_the_result_makes_no_other_class() -> None:
    assert PlaceOrder.__bases__ == (Command,)
    assert Command[Order] is not Command  # type: ignore[comparison-overlap]


# ── events ──


def test_an_event_has_an_id_and_a_time_which_tests_can_set() -> None:
    with ids.use(random.Random(3)):
        first = Tick()
    with ids.use(random.Random(3)), clock.use(clock.SystemClock()):
        again = Tick()
    assert first.event_id[10:] == again.event_id[10:]  # after the ten characters of the time
    assert ULID.from_str(first.event_id).timestamp == pytest.approx(first.occurred_at.timestamp(), abs=60)
    assert first.occurred_at.utcoffset() == timedelta(0)


def test_an_event_time_is_kept_in_utc() -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert Tick(occurred_at=noon).occurred_at == datetime(2030, 1, 1, 10, tzinfo=UTC)
    assert Tick(occurred_at=noon).occurred_at.utcoffset() == timedelta(0)
    with pytest.raises(ValidationError, match="timezone"):
        Tick(occurred_at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point


def test_an_event_class_has_a_version() -> None:
    assert (Tick.version, Renamed.version, Renamed().version) == (1, 3, 3)
    assert "version" not in Renamed().model_dump()


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (OrderPlaced(order_id="o", customer_id="c"), "o"),
        (GiftPlaced(order_id="o", customer_id="c"), "o"),
        (Tick(), None),
        (Renamed(), "overridden"),
        (MaybeOwned(), None),
        (MaybeOwned(owner_id="a"), "a"),
    ],
)
def test_an_event_knows_its_aggregate(event: DomainEvent, expected: str | None) -> None:
    assert event.aggregate_id == expected


def test_the_id_of_an_aggregate_is_text_whatever_its_field_is() -> None:
    class Counted(DomainEvent):
        item_id: int

    assert Counted(item_id=7).aggregate_id == "7"


def test_a_field_that_hides_the_aggregate_id_is_refused_when_the_class_is_made() -> None:
    with warnings.catch_warnings(record=True) as warned, pytest.raises(Misconfigured) as refused:

        class Hidden(DomainEvent):
            aggregate_id: str

    assert "Hidden.aggregate_id is a field and would hide the property" in str(refused.value)
    assert str(refused.value).endswith("call the field after the aggregate, for instance order_id.")
    assert warned == []


def test_a_field_that_hides_the_version_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(Misconfigured, match=r"Hidden\.version is a field and would hide the version"):

        class Hidden(DomainEvent):
            version: str  # type: ignore[misc]


# ── there and back ──

ORDERS = st.builds(
    PlaceGift,
    sku=st.text(),
    quantity=st.integers(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    tags=st.lists(st.text()).map(tuple),
    card=st.text(),
)
EVENTS = st.builds(
    GiftPlaced,
    order_id=st.text(),
    customer_id=st.text(),
    total=st.decimals(allow_nan=False, allow_infinity=False),
    occurred_at=st.datetimes(timezones=st.just(UTC)),
)


@given(ORDERS | EVENTS)
def test_a_message_survives_json(message: Message) -> None:
    stored = json.loads(json.dumps(message.model_dump(mode="json")))
    assert type(message).model_validate(stored) == message


@given(ORDERS | EVENTS)
def test_a_message_survives_pickling(message: Message) -> None:
    assert pickle.loads(pickle.dumps(message)) == message


def test_an_envelope_is_the_first_attempt_in_a_context_of_its_own() -> None:
    envelope = Envelope(Tick(), "shop.count")
    assert envelope.attempt == 1
    assert isinstance(envelope.context, Context)
    with pytest.raises(AttributeError):
        envelope.attempt = 2  # type: ignore[misc]
