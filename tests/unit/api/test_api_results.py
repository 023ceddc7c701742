"""A result has the type its message promises, or it is a bug."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from uno.api import asgi
from uno.app import App, Module, Route
from uno.bus import query_handler
from uno.messages import Query


class Model(BaseModel):
    a: int = 1


class LargerModel(Model):
    b: int = 2


@dataclass
class Data:
    a: int = 1


@dataclass
class LargerData(Data):
    b: int = 2


class Plain:
    a: int

    def __init__(self, a: Any = 1) -> None:
        self.a = a


class LargerPlain(Plain):
    pass


class Other:
    def __init__(self, z: int) -> None:
        self.z = z


def answering(promised: Any, value: Any) -> TestClient:
    class GetThing(Query[promised]):
        pass

    @query_handler(GetThing)
    async def get(query: GetThing) -> Any:
        return value

    app = App(Module("m", handlers=[get], routes=[Route(GetThing, path="/thing")]))
    return TestClient(asgi(app), raise_server_exceptions=False)


CLASSES: Any = (Model, Data, Plain)
WRONG: list[tuple[Any, Any]] = [
    *product(CLASSES, ({}, {"a": 1}, None, "hunter2", Other(1), [])),
    *product([list[Model], list[Data], list[Plain]], ({}, None, ["hunter2"], [{}], [Other(1)])),
    *product([Model | None, Data | None, Plain | None], ({}, "hunter2", Other(1))),
    (Plain | Other, "hunter2"),
    (dict[str, Plain], {"a": Plain("hunter2")}),
    (dict[str, Model], {"a": {}}),
    (list[int], ["hunter2"]),
    (tuple[Model, ...], [Model()]),
    (int, "hunter2"),
    (int, None),
    (None, "hunter2"),
    (None, {"secret": "hunter2"}),
    (str, 1),
    (dict[str, int], {"a": "hunter2"}),
    (dict[str, int], None),
]


@pytest.mark.parametrize(("promised", "value"), WRONG)
def test_a_result_of_another_type_is_a_bug_whose_log_names_message_and_type(
    promised: Any, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = answering(promised, value).get("/thing")
    assert (response.status_code, response.json()["type"]) == (500, "urn:uno:problem:internal")
    [record] = [r for r in caplog.records if r.name == "uno.api"]
    assert record.exc_info is not None
    told = str(record.exc_info[1])
    assert "GetThing" in told
    assert f"returned {type(value).__qualname__}" in told
    assert "hunter2" not in caplog.text


def test_the_log_names_the_field_that_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    answering(dict[str, Plain], {"x": Plain("hunter2")}).get("/thing")
    assert "(expected int in a)." in caplog.text


RIGHT: list[tuple[Any, Any, Any]] = [
    *[(cls, cls(), {"a": 1}) for cls in CLASSES],
    (Model, LargerModel(), {"a": 1, "b": 2}),
    (Data, LargerData(), {"a": 1}),
    (Plain, LargerPlain(), {"a": 1}),
    (list[Model], [LargerModel()], [{"a": 1}]),
    (list[Plain], [LargerPlain()], [{"a": 1}]),
    *[(cls | None, None, None) for cls in CLASSES],
    (Plain | Other, Other(3), {"z": 3}),
    (Plain | Other, LargerPlain(), {"a": 1}),
    (Iterable[int], [1], [1]),
    (float, 1, 1.0),
    (None, None, None),
    (tuple[Model, ...], (LargerModel(),), [{"a": 1}]),
    (list[Model | None], [None], [None]),
    (Any, None, None),
    (object, None, None),
    (Literal["a"] | None, None, None),
]


@pytest.mark.parametrize(("promised", "value", "shown"), RIGHT)
def test_a_result_of_the_promised_type_or_below_it_is_shown(promised: Any, value: Any, shown: Any) -> None:
    response = answering(promised, value).get("/thing")
    assert (response.status_code, response.json()) == (200, shown)
