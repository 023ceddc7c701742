"""Names that nobody declared, in every place where a client can write one: refused by name, and never part of SQL."""

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from tests.flows.faults.depot import (
    Client,
    asked_for,
    calling,
    depot,
    fields_in,
    get_raw,
    problems_in,
    sql_log,
    undeclared,
)

from uno.app import App

LONGEST = 201

SQL = [
    "sku;DROP TABLE depot_items",
    "sku' OR '1'='1",
    'sku" --',
    "sku`",
    "1=1",
    "1",
    "sku)/**/",
    "sku--",
    "sku UNION SELECT password FROM depot_suppliers",
    "(SELECT password FROM depot_suppliers)",
    "pg_sleep(9)",
    "current_user",
    "ctid",
    "rowid",
    "depot_items.sku",
    '"sku"',
    "[sku]",
    "sku::text",
    "sku COLLATE C",
    ":sku",
    "%(sku)s",
    "$1",
    "?",
    "CASE WHEN 1=1 THEN sku END",
    "sku\x00",
    "sku/*",
    "\\sku",
    "{sku}",
    "${sku}",
    "{{sku}}",
]
DUNDER = [
    "__class__",
    "__dict__",
    "__init__.__globals__",
    "__table__",
    "__mapper__",
    "__tablename__",
    "_sa_instance_state",
    "_sa_registry",
    "metadata",
    "metadata.tables",
    "registry",
    "is_deleted",
    "sku.__class__",
    "supplier.__class__",
    "data.__class__'",
    "type",
    "mapper",
    "c",
    "query",
]
PATHS = [
    "supplier.password",
    "supplier.name",
    "supplier.id",
    "supplier.items.sku",
    "supplier.code.x",
    "supplier.",
    "supplier..code",
    ".supplier.code",
    "supplier.supplier.code",
    "supplier/code",
    "supplier->code",
    "supplier[code]",
    "grade.name",
    "grade.value",
    "sku.x",
    "price.real",
    "data.a'b",
    'data.a"b',
    "data.",
    "data..a",
    "data.$",
    "data.*",
    "data.0",
    "data.a b",
    "data.\u00e4",
    "data->>a",
    "data.a.b.c.d.e.f.g.h.i",
    ".",
    "..",
]
HIDDEN = [
    "margin",
    "MARGIN",
    "Margin",
    "depot_items.margin",
    "Item.margin",
    "margin ",
    " margin",
    "m\u0430rgin",
    "margin\u200b",
    "ｍargin",
    "tenant",
    "deleted_at",
    "updated_by",
    "password",
    "margin__eq",
    "margin.x",
]
ODD = [
    "*",
    "%",
    "%25",
    "%00",
    "%2e%2e",
    "\x00x",
    "x\x00",
    "\x1b[31m",
    "\r\nSet-Cookie: a=b",
    "sku\n",
    "\tsku",
    "\ud7ff",
    "\ufeffsku",
    "\u202esku",
    "😀",
    "ﬁ",
    "ß",
    "null",
    "None",
    "undefined",
    "true",
    "NaN",
    "-",
    "--sku",
    "+sku",
    "SKU",
    "sku__eq__eq",
    "__eq",
    "__",
    "sku__",
    "sku__like",
    "sku__regex",
    "sku__in__in",
    "ñ",
    "[]",
    "sku[]",
    "sku[eq]",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "a" * 5_000,
    "é" * 5_000,
    "data" + ".x" * 50,
    "supplier" + ".supplier" * 50,
    "sku" + "__eq" * 50,
    "__" * 50,
]
BASE = [*SQL, *DUNDER, *PATHS, *HIDDEN, *ODD]
NAMES = [*BASE, *(f"{name}__{op}" for op in ("gte", "in") for name in (*SQL, *DUNDER, *HIDDEN))]
# Some are names of columns that can be seen, and only not filtered by.
SEEN = frozenset({"tenant", "deleted_at", "updated_by"})


def test_there_are_two_hundred_names_and_none_twice() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 200


def cut(name: str) -> str:
    return name if len(name) < LONGEST else name[: LONGEST - 1] + "…"


@pytest.fixture
def app(url: str) -> App:
    return depot(url)


def places(name: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """The path, the query with the name, and what of it has to be named."""
    there = "/items/00000000-0000-7000-8000-000000000000"
    yield "/items", {name: "1"}, cut(name)
    yield "/items", {"filter": json.dumps({name: "1"})}, cut(name)
    yield "/items", {"filter": json.dumps({"or": [{"not": {name: [1]}}]})}, cut(name)
    if name not in SEEN:
        for sort in (name, f"-{name}", f"price,{name}"):
            yield "/items", {"sort": sort}, "sort"
        for path in ("/items", there):
            yield path, {"fields": name}, "fields"
            yield path, {"fields": f"sku,{name}"}, "fields"
    for path in ("/items", there):
        yield path, {"include": name}, "include"
    yield there, {name: "1"}, cut(name)
    yield f"{there}/history", {name: "1"}, cut(name)


async def test_every_name_is_refused_where_it_stands_and_nothing_is_asked(app: App) -> None:
    with sql_log(app) as statements:
        async with calling(app) as client:
            await client.get("/items?sku=a")
            assert statements, "the log sees nothing"
            statements.clear()
            asked = 0
            for name in NAMES:
                for path, query, named in places(name):
                    response = await client.get(path, params=query)
                    asked += 1
                    assert response.status_code == 400, (path, query, response.text)
                    assert named in fields_in(response), (path, query, response.text)
                    assert len(response.content) < 10_000
            assert asked >= 10 * len(NAMES)
            assert statements == []


async def test_what_is_refused_says_nothing_of_what_is_hidden(client: Client) -> None:
    """A hidden name gets the same answer as one that is not there."""
    for hidden, nothing in (("margin", "nargim"), ("supplier.password", "supplier.drowssap")):
        for key in ("{}", "{}__gte", "sort", "fields", "filter"):
            answers = []
            for name in (hidden, nothing):
                query = {key.format(name): f'{{"{name}": 1}}' if key == "filter" else name}
                response = await client.get("/items", params=query)
                told = [(e["field"], e["message"], e["code"]) for e in problems_in(response)]
                answers.append(json.dumps(told).replace(name, "…"))
            assert answers[0] == answers[1]


async def test_ten_thousand_names_are_refused_at_once(app: App) -> None:
    names = [f"n{n}" for n in range(10_000)]
    with sql_log(app) as statements:
        async with calling(app) as client:
            statements.clear()
            for query, named in (
                ("&".join(f"{name}=" for name in names), "n0"),
                ("filter=" + quote(json.dumps(dict.fromkeys(names, 1))), "filter"),
                ("filter=" + quote(json.dumps({"or": [{name: 1} for name in names]})), "filter"),
                ("sort=" + ",".join(names), "sort"),
                ("fields=" + ",".join(names), "fields"),
                ("include=" + ",".join(names), "include"),
                ("sku__in=" + ",".join(names), "sku__in"),
                ("&".join("sku=a" for _ in names), "filter"),
                ("&".join("limit=1" for _ in names), "limit"),
            ):
                response = await get_raw(client, "/items", query.encode())
                assert (response.status_code, named in fields_in(response)) == (400, True), (query[:40], response.text)
                assert len(response.content) < 50_000
            assert statements == []


DEEP = {
    '{"not":' * 50 + "{}" + "}" * 50: "filter",
    '{"and":[' * 50 + '{"sku":"a"}' + "]}" * 50: "filter",
    '{"or":[' * 50 + '{"sku":"a"}' + "]}" * 50: "filter",
    '{"sku":' + "[" * 50 + "]" * 50 + "}": "sku",
    '{"data.a":' + '{"or":' * 50 + "1" + "}" * 50 + "}": "data.a",
    '{"not":' * 3_000 + "{}" + "}" * 3_000: "filter",
    '{"not":' * 20_000: "filter",
}


async def test_groups_fifty_deep_are_refused(client: Client) -> None:
    for said, named in DEEP.items():
        response = await get_raw(client, "/items", b"filter=" + quote(said).encode())
        assert (response.status_code, fields_in(response)) == (400, [named]), (said[:50], response.text)


async def test_bytes_that_are_no_text_are_refused(client: Client) -> None:
    for query in ("%ff=1", "%c3%28=1", "%ed%a0%80=1", "%u0041=1", "sku%=1", "%=1", "=1", "&&&=", "a%00b=1"):
        response = await client.get(f"/items?{query}")
        assert (response.status_code, bool(fields_in(response))) == (400, True), (query, response.text)


async def test_what_is_allowed_asks_for_declared_columns_only(app: App) -> None:
    names = ("sku", "shelf", "price", "data.a.b-c", "supplier.code", "seen_at", "version")
    with sql_log(app) as statements:
        async with calling(app) as client:
            statements.clear()
            for name in names:
                for operator in ("eq", "ne", "is_null", "in"):
                    value = {"is_null": "true"}.get(operator, "2026-01-01T00:00:00Z" if name == "seen_at" else "1")
                    for sort in ("-price,sku", "seen_at"):
                        query = {f"{name}__{operator}": value, "sort": sort, "total": "true", "fields": "sku"}
                        assert (await client.get("/items", params=query)).status_code == 200, query
    assert len(statements) >= 2 * len(names) * 4
    assert undeclared(statements) == []
    assert not [one for one in statements if "margin" in asked_for(one) or "password" in one]
