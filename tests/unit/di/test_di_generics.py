"""Open generics: one provider, good for every `Repository[Order]`."""

from collections.abc import AsyncIterator
from typing import Any, Generic, Protocol, TypeVar

from uno.di import ServiceProvider, scoped, singleton, transient, value

T = TypeVar("T")
K = TypeVar("K")


class Entity(Generic[K]): ...


E = TypeVar("E", bound=Entity[Any])


class Order(Entity[int]): ...


class Customer(Entity[str]): ...


class Table(Generic[T]):
    def __init__(self, kind: type[T]) -> None:
        self.kind = kind


class Repository(Generic[T]):
    def __init__(self, kind: type[T], table: Table[T]) -> None:
        self.kind, self.table = kind, table


async def test_a_generic_class_is_made_for_every_type_it_is_asked_for() -> None:
    @singleton
    class Store(Repository[T], Generic[T]): ...

    @singleton
    class Shop:
        def __init__(self, orders: Store[Order], customers: Store[Customer]) -> None:
            self.orders, self.customers = orders, customers

    tables = [value(Table(Order), provides=Table[Order]), value(Table(Customer), provides=Table[Customer])]
    provider = ServiceProvider([Store, Shop, *tables])
    assert provider.problems() == []
    shop = await provider.get(Shop)
    assert shop.orders is await provider.get(Store[Order])
    assert (shop.orders.kind, shop.orders.table.kind) == (Order, Order)
    assert (shop.customers.kind, shop.customers.table.kind) == (Customer, Customer)


async def test_a_generic_may_be_a_subclass_of_one_with_the_constructor() -> None:
    @transient
    class Rows(Table[K], Generic[K]): ...

    provider = ServiceProvider([Rows])
    assert (await provider.get(Rows[Order])).kind is Order


async def test_a_generic_factory_function_is_good_for_every_type() -> None:
    closed: list[type] = []

    @singleton
    def table(kind: type[T]) -> Table[T]:
        return Table(kind)

    @scoped
    async def repository(kind: type[K], table: Table[K]) -> AsyncIterator[Repository[K]]:
        yield Repository(kind, table)
        closed.append(kind)

    async with ServiceProvider([table, repository]) as provider:
        assert provider.needs_scope(Repository[Order])
        assert not provider.needs_scope(Table[Order])
        async with provider.scope() as scope:
            orders = await scope.get(Repository[Order])
            assert orders is await scope.get(Repository[Order])
            assert orders.table is await provider.get(Table[Order])
            assert (await scope.get(Repository[Customer])).kind is Customer
        assert closed == [Customer, Order]


async def test_a_type_variable_bound_to_a_generic_class_is_kept_to() -> None:
    @singleton
    def table(kind: type[E]) -> Table[E]:
        return Table(kind)

    provider = ServiceProvider([table])
    assert (await provider.get(Table[Order])).kind is Order
    assert provider.provides(Table[Order])
    assert not provider.provides(Table[int])


async def test_a_closed_provider_goes_before_the_generic_one() -> None:
    mine = Table(Order)

    @singleton
    def table(kind: type[T]) -> Table[T]:
        return Table(kind)

    provider = ServiceProvider([table, value(mine, provides=Table[Order])])
    assert provider.problems() == []
    assert await provider.get(Table[Order]) is mine
    assert await provider.get(Table[Customer]) is not mine


class Finds(Protocol[T]):
    def find(self) -> type[T]: ...


async def test_a_generic_protocol_is_provided_with_the_types_of_the_class() -> None:
    @singleton(provides=Finds)
    class AnyFinder(Finds[K]):
        def __init__(self, kind: type[K]) -> None:
            self.kind = kind

        def find(self) -> type[K]:
            return self.kind

    @singleton(provides=Finds)
    class OrderFinder(Finds[Order]):
        def find(self) -> type[Order]:
            return Order

    provider = ServiceProvider([AnyFinder, OrderFinder])
    assert provider.problems() == []
    assert isinstance(await provider.get(Finds[Order]), OrderFinder)
    assert (await provider.get(Finds[Customer])).find() is Customer


async def test_what_a_generic_needs_is_checked_for_each_type_somebody_asks_for() -> None:
    @singleton
    class Store(Repository[T], Generic[T]): ...

    @singleton
    class Shop:
        def __init__(self, orders: Store[Order], customers: Store[Customer]) -> None: ...

    provider = ServiceProvider([Store, Shop, value(Table(Order), provides=Table[Order])])
    [problem] = provider.problems()
    assert (problem.kind, problem.where) == ("missing provider", "Table[Customer]")
    assert problem.path == ("Shop", "Store[Customer]", "Table[Customer]")
    [late] = ServiceProvider([Store, value(Table(Order), provides=Table[Order])]).problems_for(
        "Sell", [Store[Customer]]
    )
    assert late.path == ("Sell", "Store[Customer]", "Table[Customer]")


def test_a_generic_asked_for_without_its_type_says_so() -> None:
    @singleton
    class Store(Generic[T]): ...

    @singleton
    class Shop:
        def __init__(self, store: Store) -> None: ...  # type: ignore[type-arg]

    [problem] = ServiceProvider([Store, Shop]).problems()
    assert problem.message.endswith("it is generic, ask for Store[…] with its type.")


def test_two_open_providers_of_one_class_are_a_duplicate() -> None:
    @singleton
    def one(kind: type[T]) -> Table[T]:
        return Table(kind)

    @singleton
    def two(kind: type[K]) -> Table[K]:
        return Table(kind)

    assert [p.kind for p in ServiceProvider([one, two]).problems()] == ["duplicate provider"]


async def test_an_override_of_one_type_leaves_the_others_of_the_generic() -> None:
    @singleton
    def table(kind: type[T]) -> Table[T]:
        return Table(kind)

    @singleton
    class Store(Repository[T], Generic[T]): ...

    provider, mine = ServiceProvider([table, Store]), Table(Order)
    customers, orders = await provider.get(Table[Customer]), await provider.get(Store[Order])
    with provider.override(Table[Order], mine):
        assert await provider.get(Table[Customer]) is customers
        assert (await provider.get(Store[Order])).table is mine
    assert await provider.get(Store[Order]) is orders
