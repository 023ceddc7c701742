"""The table of routes finds what Starlette would find, without looking at every route."""

from typing import Any

from hypothesis import given, strategies as st
from starlette.routing import Match, Route

from uno.api.table import Table

LITERALS = st.sampled_from(["a", "b", "users", "x.y"])
SEGMENTS = st.one_of(LITERALS, st.sampled_from(["{p}"]))
METHODS = st.sampled_from(["GET", "POST", "DELETE"])


def named(segments: list[str]) -> str:
    """A path whose parameters have different names."""
    return "/" + "/".join(s.replace("p", f"p{n}") if s == "{p}" else s for n, s in enumerate(segments))


PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map(named)
REQUESTS = st.lists(st.sampled_from(["a", "b", "users", "x.y", "7", "", "a b", "é"]), min_size=1, max_size=5).map(
    lambda segments: "/" + "/".join(segments)
)


def literals_first(entry: tuple[str, str]) -> list[bool]:
    return [segment.startswith("{") for segment in entry[1].split("/")]


def starlette_finds(entries: list[tuple[str, str]], method: str, path: str) -> Any:
    """The first of Starlette's routes that matches fully, with literals before parameters."""
    scope = {"type": "http", "method": method, "path": path}
    for entry in sorted(entries, key=literals_first):
        match, child = Route(entry[1], lambda r: None, methods=[entry[0]]).matches(scope)
        if match is Match.FULL:
            return entry, child["path_params"]
    return None


@given(st.lists(st.tuples(METHODS, PATHS), max_size=12), METHODS, REQUESTS)
def test_the_table_finds_what_starlette_finds(entries: list[tuple[str, str]], method: str, path: str) -> None:
    shapes: dict[Any, tuple[str, str]] = {}
    for entry in entries:
        # Two paths that differ only in their parameters' names are a clash, found elsewhere.
        shapes.setdefault((entry[0], tuple(literals_first(entry)), entry[1].count("{"), shape(entry[1])), entry)
    known = list(shapes.values())
    table: Table[tuple[str, str]] = Table()
    for entry in known:
        table.add(*entry, entry)
    assert table.find(method, path) == starlette_finds(known, method, path)


@given(st.lists(st.tuples(METHODS, PATHS), max_size=12), REQUESTS)
def test_the_table_knows_all_methods_of_a_path(entries: list[tuple[str, str]], path: str) -> None:
    table: Table[int] = Table()
    for entry in entries:
        table.add(*entry, 1)
    expected = {m for m in ("GET", "POST", "DELETE") if starlette_finds(entries, m, path)}
    assert table.methods(path) == expected


def shape(path: str) -> str:
    return "/".join("{}" if s.startswith("{") else s for s in path.split("/"))


def test_a_parameter_may_be_the_rest_of_a_path_or_a_part_of_a_segment() -> None:
    table: Table[str] = Table()
    table.add("GET", "/files/{path:path}", "file")
    table.add("GET", "/reports/{name}.csv", "csv")
    table.add("GET", "/files/list", "list")
    assert table.find("GET", "/files/a/b") == ("file", {"path": "a/b"})
    assert table.find("GET", "/reports/may.csv") == ("csv", {"name": "may"})
    assert table.find("GET", "/files/list") == ("list", {})
    assert table.find("POST", "/files/a") is None
    assert table.methods("/files/a") == {"GET"}


def test_a_parameter_is_never_empty() -> None:
    table: Table[str] = Table()
    table.add("GET", "/users/{id}", "user")
    assert table.find("GET", "/users/") is None
    assert table.methods("/users/") == set()


def test_a_literal_that_leads_nowhere_does_not_hide_a_parameter() -> None:
    table: Table[str] = Table()
    table.add("GET", "/users/me/settings", "mine")
    table.add("GET", "/users/{id}/orders", "orders")
    table.add("POST", "/users/me", "post")
    table.add("GET", "/users/{id}", "user")
    assert table.find("GET", "/users/me/orders") == ("orders", {"id": "me"})
    assert table.find("GET", "/users/me") == ("user", {"id": "me"})
