"""Services in FastAPI endpoints: `DIAPIRouter` and `inject_params`."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Header, Query, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel

from uno.api import DIAPIRouter, asgi, inject_params, register_error_handlers
from uno.app import App, Module
from uno.bus import Bus, CommandBus, EventBus, QueryBus, command_handler
from uno.context import Context
from uno.di import ServiceProvider, scoped, singleton, transient, use_service_provider, value
from uno.domain import AggregateRoot
from uno.errors import Conflict, Misconfigured
from uno.messages import Command
from uno.result import Failure, Result, Success
from uno.settings import Settings

CLOSED: list[str] = []


class Greeter(Protocol):
    def greet(self, name: str) -> str: ...


@singleton(provides=Greeter)
class Polite:
    def greet(self, name: str) -> str:
        return f"Dear {name}"


class Session:
    pass


@scoped
async def session() -> AsyncIterator[Session]:
    yield Session()
    CLOSED.append("session")


@transient
class Draft:
    pass


@dataclass
class Limits:
    """Could as well be a body."""

    most: int = 5


class User(AggregateRoot[str]):
    def __init__(self, id: str, email: str) -> None:
        super().__init__(id=id)
        self.email = email


class CreateUser(Command[User]):
    email: str


@command_handler(CreateUser)
async def create_user(command: CreateUser) -> User:
    if command.email == "taken":
        raise Conflict("It is taken.")
    return User("1", command.email)


def make_app() -> App:
    return App(Module("m", handlers=[create_user], providers=[Polite, session, Draft, value(Limits(7))]))


@pytest.fixture
def app() -> App:
    CLOSED.clear()
    return make_app()


def client_of(app: App, *routers: APIRouter) -> TestClient:
    return TestClient(asgi(app, routers=routers), raise_server_exceptions=False)


# ── the seed's way ──


def test_the_quick_start_of_the_seed_runs(app: App) -> None:
    router = DIAPIRouter(prefix="/users", tags=["users"])

    @router.post("/")
    @inject_params()
    async def create(command: CreateUser, command_bus: CommandBus) -> Any:
        result = await command_bus.dispatch(command)
        if result.is_success:
            user = result.value
            assert user is not None
            return {"id": user.id, "email": user.email}
        return result

    with client_of(app, router) as client:
        assert client.post("/users/", json={"email": "a@b.c"}).json() == {"id": "1", "email": "a@b.c"}
        response = client.post("/users/", json={"email": "taken"})
        assert (response.status_code, response.json()["detail"]) == (409, "It is taken.")
        assert client.post("/users/", json={}).status_code == 422


def test_services_stand_beside_query_parameters_and_may_default_to_none(app: App) -> None:
    router = DIAPIRouter()

    @router.get("/search")
    @inject_params()
    async def search(
        query_text: str,
        limit: int = 10,
        query_bus: QueryBus = None,  # type: ignore[assignment] # as in the seed
    ) -> dict[str, Any]:
        return {"text": query_text, "limit": limit, "bus": query_bus is not None}

    with client_of(app, router) as client:
        assert client.get("/search?query_text=x&limit=3").json() == {"text": "x", "limit": 3, "bus": True}


# ── what is injected ──


def test_everything_that_is_registered_is_injected_and_the_rest_is_fastapis(app: App) -> None:
    router = DIAPIRouter()

    @router.post("/all/{name}")
    async def everything(
        name: str,
        request: Request,
        tasks: BackgroundTasks,
        command: CreateUser,
        greeter: Greeter,
        session: Session,
        draft: Draft,
        limits: Limits,
        settings: Settings,
        context: Context,
        bus: Bus,
        events: EventBus,
        maybe: Greeter | None,
        page: Annotated[int, Query(ge=1)] = 1,
        agent: Annotated[str, Header()] = "",
    ) -> dict[str, Any]:
        return {
            "greeting": greeter.greet(name),
            "session": isinstance(session, Session),
            "draft": isinstance(draft, Draft),
            "most": limits.most,
            "settings": isinstance(settings, Settings),
            "correlation": context.correlation_id == request.headers["x-correlation-id"],
            "bus": bus is app.bus and events is app.bus,
            "same": maybe is greeter,
            "page": page,
            "agent": agent,
            "email": command.email,
        }

    with client_of(app, router) as client:
        response = client.post(
            "/all/Ada?page=2", json={"email": "e"}, headers={"X-Correlation-ID": "c", "agent": "007"}
        )
        assert response.json() == {
            "greeting": "Dear Ada",
            "session": True,
            "draft": True,
            "most": 7,
            "settings": True,
            "correlation": True,
            "bus": True,
            "same": True,
            "page": 2,
            "agent": "007",
            "email": "e",
        }
        [operation] = client.get("/openapi.json").json()["paths"]["/all/{name}"].values()
        assert [p["name"] for p in operation["parameters"]] == ["name", "page", "agent"]


def test_a_scoped_service_lives_as_long_as_its_request(app: App) -> None:
    router = DIAPIRouter()

    @router.get("/")
    async def first(session: Session) -> bool:
        return "session" in CLOSED

    with client_of(app, router) as client:
        assert client.get("/").json() is False
        assert CLOSED == ["session"]
        client.get("/")
        assert CLOSED == ["session", "session"]


def test_a_scope_is_closed_when_the_endpoint_fails(app: App) -> None:
    router = DIAPIRouter()

    @router.get("/")
    async def fails(session: Session) -> None:
        raise Conflict("no")

    with client_of(app, router) as client:
        assert client.get("/").status_code == 409
    assert CLOSED == []  # what follows the yield does not run after an exception


def test_a_plain_function_runs_in_a_thread_with_its_services(app: App) -> None:
    import threading

    router = DIAPIRouter()
    main = threading.get_ident()

    @router.get("/{name}")
    def hello(name: str, greeter: Greeter) -> list[Any]:
        return [greeter.greet(name), threading.get_ident() != main]

    with client_of(app, router) as client:
        assert client.get("/Ada").json() == ["Dear Ada", True]


def test_depends_works_beside_services(app: App) -> None:
    class Page:
        def __init__(self, number: int = 1) -> None:
            self.number = number

    def twice(number: int = 1) -> int:
        return number * 2

    router = DIAPIRouter()

    @router.get("/")
    async def read(page: Annotated[Page, Depends()], greeter: Greeter, double: int = Depends(twice)) -> list[Any]:
        return [page.number, double, greeter.greet("you")]

    with client_of(app, router) as client:
        assert client.get("/?number=3").json() == [3, 6, "Dear you"]


def test_depends_on_a_registered_class_stays_fastapis(app: App) -> None:
    router = DIAPIRouter()

    def fake() -> Greeter:
        class Rude:
            def greet(self, name: str) -> str:
                return f"Oi {name}"

        return Rude()

    @router.get("/")
    async def read(greeter: Annotated[Greeter, Depends(fake)]) -> str:
        return greeter.greet("you")

    with client_of(app, router) as client:
        assert client.get("/").json() == "Oi you"


# ── which parameters are services ──


def test_a_model_that_is_not_registered_is_a_body(app: App) -> None:
    class Wish(BaseModel):
        text: str

    router = DIAPIRouter()

    @router.post("/")
    async def wish(wish: Wish, greeter: Greeter) -> str:
        return greeter.greet(wish.text)

    with client_of(app, router) as client:
        assert client.post("/", json={"text": "x"}).json() == "Dear x"


def test_a_dataclass_is_a_service_where_it_is_registered_and_a_body_where_not(app: App) -> None:
    def make_router() -> DIAPIRouter:
        router = DIAPIRouter()

        @router.post("/")
        async def read(limits: Limits) -> int:
            return limits.most

        return router

    with client_of(app, make_router()) as client:
        assert client.post("/").json() == 7
    with client_of(App(), make_router()) as client:
        assert client.post("/", json={"most": 3}).json() == 3


def test_a_router_inside_a_router_is_bound_too(app: App) -> None:
    inner, outer = DIAPIRouter(prefix="/inner"), APIRouter(prefix="/outer")

    @inner.post("/")
    async def read(limits: Limits) -> int:
        return limits.most

    outer.include_router(inner)
    with client_of(app, outer) as client:
        assert client.post("/outer/inner/").json() == 7


def test_a_route_that_is_added_after_the_router_was_included_knows_what_is_registered(app: App) -> None:
    router = DIAPIRouter()
    api = asgi(app, routers=[router])

    @router.post("/")
    async def read(limits: Limits) -> int:
        return limits.most

    with TestClient(api) as client:
        assert client.post("/").json() == 7


def test_a_service_that_nothing_provides_is_a_start_up_problem() -> None:
    router = DIAPIRouter(prefix="/hello")

    @router.get("/")
    async def hello(greeter: Greeter, maybe: Session | None = None) -> None: ...

    with pytest.raises(Misconfigured) as caught:
        asgi(App(), routers=[router])
    [problem] = caught.value.problems
    assert (problem.kind, problem.where) == ("missing provider", "GET /hello/")
    assert "Its parameter greeter asks for Greeter, which nothing provides" in problem.message


def test_an_optional_service_that_nothing_provides_is_its_default() -> None:
    router = DIAPIRouter()

    @router.get("/")
    async def hello(greeter: Greeter | None = None) -> bool:
        return greeter is None

    with client_of(App(), router) as client:
        assert client.get("/").json() is True


def test_a_streaming_endpoint_cannot_have_services() -> None:
    router = DIAPIRouter()
    with pytest.raises(Misconfigured, match="services cannot be injected into a generator"):

        @router.get("/")
        async def stream(greeter: Greeter) -> AsyncIterator[str]:
            yield "x"


def test_a_streaming_endpoint_without_services_is_left_alone(app: App) -> None:
    router = DIAPIRouter()

    @router.get("/")
    async def stream() -> AsyncIterator[int]:
        yield 1
        yield 2

    with client_of(app, router) as client:
        assert client.get("/").text.split() == ["1", "2"]


# ── results ──


def test_a_result_becomes_its_value_or_a_problem_and_has_a_schema(app: App) -> None:
    router = DIAPIRouter()

    @router.post("/users", status_code=201)
    async def create(command: CreateUser, bus: CommandBus) -> Result[User]:
        return await bus.dispatch(command)

    with client_of(app, router) as client:
        response = client.post("/users", json={"email": "a@b.c"})
        assert (response.status_code, response.json()) == (201, {"id": "1", "email": "a@b.c", "version": 0})
        assert client.post("/users", json={"email": "taken"}).status_code == 409
        document = client.get("/openapi.json").json()
        schema = document["paths"]["/users"]["post"]["responses"]["201"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/User"}


@pytest.mark.parametrize("result", [Success(3), Success(None), Success([User("1", "e")]), Failure(Conflict("no"))])
def test_any_result_is_understood(app: App, result: Result[Any]) -> None:
    router = DIAPIRouter()

    @router.get("/")
    async def read():  # type: ignore[no-untyped-def]
        return result

    with client_of(app, router) as client:
        response = client.get("/")
    expected: dict[Any, Any] = {3: 3, None: None}
    if isinstance(result, Failure):
        assert response.status_code == 409
    elif isinstance(result.value, list):
        assert response.json() == [{"id": "1", "email": "e", "version": 0}]
    else:
        assert response.json() == expected[result.value]


# ── inject_params on plain FastAPI ──


@pytest.fixture
def plain() -> Iterator[FastAPI]:
    """A FastAPI application without uno's, in which only a provider is current."""
    api = FastAPI()
    register_error_handlers(api)
    with use_service_provider(ServiceProvider([Polite, session, Draft])):
        yield api


def test_inject_params_works_on_plain_fastapi(plain: FastAPI) -> None:
    @plain.get("/{name}")
    @inject_params()
    async def hello(name: str, greeter: Greeter, session: Session) -> str:
        return greeter.greet(name)

    assert TestClient(plain).get("/Ada").json() == "Dear Ada"


def test_inject_params_works_in_unos_application(app: App) -> None:
    api = asgi(app)

    @api.get("/{name}")
    @inject_params()
    async def hello(name: str, greeter: Greeter) -> str:
        return greeter.greet(name)

    with TestClient(api) as client:
        assert client.get("/Ada").json() == "Dear Ada"


def test_a_service_missing_from_a_plain_application_is_named(plain: FastAPI) -> None:
    @plain.get("/")
    @inject_params()
    async def bad(bus: CommandBus) -> None: ...

    with pytest.raises(Misconfigured, match="asks for CommandBus, which nothing provides"):
        TestClient(plain).get("/")


async def test_an_injected_function_can_be_called_by_hand() -> None:
    @inject_params()
    async def hello(name: str, greeter: Greeter) -> str:
        return greeter.greet(name)

    assert await hello("Ada", Polite()) == "Dear Ada"


def test_another_decorator_may_stand_between(app: App) -> None:
    import functools

    def shouting(function: Any) -> Any:
        @functools.wraps(function)
        async def shout(*args: Any, **kwargs: Any) -> str:
            return str((await function(*args, **kwargs)).upper())

        return shout

    router = DIAPIRouter()

    @router.get("/{name}")
    @shouting
    @inject_params()
    async def hello(name: str, greeter: Greeter) -> str:
        return greeter.greet(name)

    with client_of(app, router) as client:
        assert client.get("/ada").json() == "DEAR ADA"
