"""Lists: filters, order, pages, selected fields; and whatever somebody may write there instead."""

import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from tests.flows.resources.shop import Client, Order, an_order, calling, fields_in, shop

from uno.app import App, Module, resource
from uno.errors import Misconfigured


@pytest.fixture
async def app(url: str) -> App:
    return shop(url, filterable=("number", "price", "amount", "state", "note", "data", "customer.name"), max_limit=50)


@pytest.fixture
async def client(app: App) -> AsyncIterator[Client]:
    async with calling(app) as client:
        customer = (await client.post("/customers", json={"name": "Ada", "password": "x"})).status_code
        assert customer == 422
        await client.post("/customers", json={"name": "Ada"})
        for n in range(7):
            values = {"amount": n % 3 + 1, "note": None if n < 2 else f"note {n}", "data": {"n": n}}
            await an_order(client, f"N-{n}", **values, **({"customer_id": 1} if n == 4 else {}))
        yield client


async def numbers(client: Client, query: str) -> list[str]:
    response = await client.get(f"/orders?{query}")
    assert response.status_code == 200, response.text
    return [one["number"] for one in response.json()["items"]]


async def test_filters_find_what_they_say(client: Client) -> None:
    groups = quote(json.dumps({"or": [{"number": "N-1"}, {"data.n__gte": 5}]}))
    expected = {
        "number=N-3": ["N-3"],
        "number__in=N-0,N-6": ["N-0", "N-6"],
        "amount__gte=2&amount__lt=3": ["N-1", "N-4"],
        "note__is_null=true": ["N-0", "N-1"],
        "note__icontains=NOTE%206": ["N-6"],
        "state=sent": [],
        "price__between=9.90,10&number__ends_with=5": ["N-5"],
        "data.n=2": ["N-2"],
        "customer.name=Ada": ["N-4"],
        f"filter={groups}": ["N-1", "N-5", "N-6"],
        f"filter={groups}&number__ne=N-5": ["N-1", "N-6"],
    }
    for query, found in expected.items():
        assert await numbers(client, f"{query}&sort=number") == found, query
    assert await numbers(client, "sort=-amount,number") == ["N-2", "N-5", "N-1", "N-4", "N-0", "N-3", "N-6"]


async def test_pages_follow_each_other_by_their_links(client: Client) -> None:
    for first in ("/orders?limit=3&sort=-number", "/orders?limit=3&sort=-number&offset=0"):
        found, there, pages = [], first, 0
        links: dict[str, str] = {}
        while there:
            response = await client.get(there)
            found += [one["number"] for one in response.json()["items"]]
            links = dict(re.findall(r'<([^>]*)>; rel="(\w+)"', response.headers.get("link", "")))
            there = next((link for link, rel in links.items() if rel == "next"), "")
            pages += 1
        assert (found, pages) == ([f"N-{n}" for n in range(6, -1, -1)], 3)
        assert {"first"} <= set(links.values())
    last = await client.get("/orders?limit=3&offset=6&total=true&sort=number")
    assert 'offset=3>; rel="prev"' in last.headers["link"]
    assert (last.json()["total"], last.json()["next"], len(last.json()["items"])) == (7, None, 1)


async def test_fields_select_what_is_shown(client: Client) -> None:
    response = await client.get("/orders?fields=number,amount&limit=1&sort=number")
    assert response.json()["items"] == [{"number": "N-0", "amount": 1}]
    assert fields_in(await client.get("/orders?fields=number,secret,nothing")) == ["fields", "fields"]


WRONG = {
    "limit=-1": "limit",
    "limit=0": "limit",
    "limit=51": "limit",
    "limit=1e9": "limit",
    "limit=1000000000": "limit",
    "limit=5&limit=6": "limit",
    "offset=-1": "offset",
    "offset=99999999999999999999": "offset",
    "total=maybe": "total",
    "after=nothing": "after",
    "after=%F0%9F%98%80": "after",
    "sort=number,number": "sort",
    "sort=data": "sort",
    "price=cheap": "price",
    "price__like=9": "price__like",
    "amount__between=1": "amount__between",
    "state=lost": "state",
    "note=%00": "note",
    "created_at__gte=2020-01-01T00:00:00Z": "created_at__gte",
    "customer.password=": "customer.password",
    "customer.id=1": "customer.id",
    "filter=[]": "filter",
    "filter={": "filter",
}


@pytest.mark.parametrize("query", WRONG)
async def test_what_is_wrong_in_a_list_is_named(client: Client, query: str) -> None:
    response = await client.get(f"/orders?{query}")
    assert response.status_code == 400, response.text
    assert set(fields_in(response)) == {WRONG[query]}


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("limit=0&nope=1&sort=zz&fields=yy", ["limit", "fields", "nope", "sort"]),
        ("nope=1&sort=zz&price=cheap", ["nope", "price", "sort"]),
        ("offset=-1&filter={&sort=number,number", ["offset", "filter", "sort"]),
        ("limit=0&price=5&price=6", ["limit", "price"]),
        ("include=nobody&sort=data", ["include", "sort"]),
    ],
)
async def test_everything_that_is_wrong_is_told_at_once(client: Client, query: str, fields: list[str]) -> None:
    response = await client.get(f"/orders?{query}")
    assert (response.status_code, fields_in(response)) == (400, fields), response.text
    assert all(one in response.json()["detail"] for one in fields[:3]), response.text


async def test_cursors_of_others_are_refused(client: Client) -> None:
    cursor = (await client.get("/orders?limit=1&sort=amount")).json()["next"]
    assert fields_in(await client.get(f"/orders?sort=number&after={cursor}")) == ["after"]
    assert fields_in(await client.get(f"/orders?sort=amount&after={cursor}&offset=2")) == ["offset"]
    hostile = base64.urlsafe_b64encode(json.dumps([["amount", "id"], ["1; DROP TABLE", {}]]).encode()).decode()
    assert fields_in(await client.get(f"/orders?sort=amount&after={hostile}")) == ["after"]


WRONG_NAMES: list[dict[str, Any]] = [
    {"filterable": ["secret"]},
    {"sortable": ["nothing"]},
    {"filterable": ["customer.password"]},
]


@pytest.mark.parametrize("options", WRONG_NAMES)
def test_a_list_of_what_may_be_asked_for_names_what_can_be_seen(options: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="no such attribute that can be seen"):
        App(Module("shop", routes=[resource(Order, access="open", **options)]), database="sqlite://")
