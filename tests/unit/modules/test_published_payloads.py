"""What `host.publish` takes: what JSON, and a database, can hold."""

from typing import Any

import pytest

from uno.errors import Invalid
from uno.modules import ModuleHost, ModuleHostConfig


def a_host() -> ModuleHost:
    return ModuleHost(ModuleHostConfig(enable_metrics=True))


NOT_JSON: dict[str, Any] = {
    "a list": [1, 2],
    "a number": 5,
    "a text": "abc",
    "nothing of a kind": [],
    "NaN": {"x": float("nan")},
    "infinity": {"x": [float("inf")]},
    "a NUL": {"x": {"y": "a\0b"}},
    "a NUL in a key": {"a\0": 1},
    "a NUL after a backslash": {"x": "\\\0"},
    "a lone surrogate": {"x": "\ud800"},
    "too many digits": {"x": 10**5000},
    "bytes": {"x": b"x"},
    "a key that is no text": {1: 1},
}


@pytest.mark.parametrize("data", NOT_JSON.values(), ids=NOT_JSON.keys())
async def test_data_that_json_cannot_hold_is_refused_by_its_field(data: Any) -> None:
    host = a_host()
    with pytest.raises(Invalid, match="cannot be published: data") as refused:
        await host.publish("a", data)
    assert [error.field.partition(".")[0] for error in refused.value.errors] == ["data"]
    assert host.metrics is not None
    assert host.metrics.events_published == 0


@pytest.mark.parametrize("headers", [["a"], 5, "abc", {"a": 1}, {"a": "\ud800"}, {"a": "\0"}])
async def test_headers_are_texts_by_name(headers: Any) -> None:
    with pytest.raises(Invalid, match="cannot be published: headers"):
        await a_host().publish("a", {}, headers)


async def test_what_only_looks_like_a_nul_is_published() -> None:
    assert await a_host().publish("a", {"x": "\\u0000", "y": "\\\\u0000", "n": 10**4000})
