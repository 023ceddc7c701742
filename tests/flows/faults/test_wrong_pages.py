"""Limits, offsets and cursors that are none, or are of another list: 400 with the name of the parameter."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from tests.flows.faults.depot import Client, calling, depot, fields_in, sql_log

LIST = "/items"
NUMBERS = [
    "-1",
    "1e9",
    "abc",
    "",
    " 1",
    "1 ",
    "+1",
    "-0",
    "1.0",
    "0x1",
    "1_0",
    "٣",
    "½",
    "²",
    "\0",
    "1\0",
    "null",
    "true",
]
NUMBERS += ["9" * 19, "9" * 20, "9" * 5_000, "NaN", "Infinity", "1,2", "[1]", "1;2", "%31", "1%", "1 OR 1=1"]


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with calling(depot(url)) as client:
        items = [{"sku": f"A-{n}", "price": n % 3, "shelf": [None, "a", "b"][n % 3]} for n in range(9)]
        assert (await client.post(f"{LIST}/bulk", json={"items": items})).status_code == 201
        for n in range(3):
            assert (await client.post("/crates", json={"id": f"{n}", "label": "a"})).status_code == 201
        yield client


async def test_a_limit_or_an_offset_that_is_none_is_named(client: Client) -> None:
    for name in ("limit", "offset"):
        for value in NUMBERS:
            response = await client.get(LIST, params={name: value})
            assert (response.status_code, fields_in(response)) == (400, [name]), (name, value, response.text)
        twice = await client.get(f"{LIST}?{name}=1&{name}=1")
        assert (twice.status_code, fields_in(twice)) == (400, [name])
    for value in ("0", "1001", "1000000000"):
        assert fields_in(await client.get(LIST, params={"limit": value})) == ["limit"]
    there = (await client.get(f"{LIST}?limit=1")).json()["items"][0]["id"]
    for value in (*NUMBERS[:4], "0", "1001"):
        response = await client.get(f"{LIST}/{there}/history", params={"limit": value})
        assert (response.status_code, fields_in(response)) == (400, ["limit"]), (value, response.text)


async def test_the_largest_that_are_allowed_are_answered(client: Client) -> None:
    for query, found in (
        ("limit=1000", 9),
        ("offset=9223372036854775807", 0),
        ("limit=1&offset=8", 1),
        ("offset=9", 0),
    ):
        response = await client.get(f"{LIST}?{query}")
        assert (response.status_code, len(response.json()["items"])) == (200, found), (query, response.text)


def decoded(cursor: str) -> Any:
    return json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))


def encoded(said: Any) -> str:
    text = said if isinstance(said, str) else json.dumps(said)
    return urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def tampered(cursor: str) -> list[str]:
    """What somebody may make of a cursor that is sorted by -price,sku."""
    said, values = decoded(cursor)
    odd: list[Any] = [
        {},
        [],
        True,
        "x",
        "\0",
        "1; DROP TABLE depot_items",
        None,
        "1E-99999",
        "9" * 5_000,
    ]
    return [
        *(cursor[:n] for n in range(1, len(cursor), 5)),
        *(cursor[n:] for n in range(1, len(cursor), 7)),
        cursor + "A",
        cursor + cursor,
        cursor.swapcase(),
        cursor[::-1],
        "=" * 8,
        "A" * 4_097,
        "A" * 60_000,
        "\0",
        "null",
        "😀",
        " ",
        *map(encoded, (None, 1, "x", [], {}, [1], [said], [said, values, 1], [said, {}], [said, None], [values, said])),
        *map(encoded, ([said, values[:-1]], [said, [*values, 1]], [said, []], [[], values], [None, values])),
        *(encoded([said, [one, *values[1:]]]) for one in odd),
        *(encoded([said, [*values[:-1], one]]) for one in (*odd, 1, "00000000")),
        encoded([["Item", "-price", "sku", "margin"], values]),
        encoded([["Item", "margin", "id"], [1, values[-1]]]),
        encoded([["Crate", *said[1:]], values]),
        encoded("[" * 2_000),
        encoded('["a",' * 500),
    ]


async def test_a_cursor_that_is_none_is_refused(client: Client) -> None:
    cursor = (await client.get(f"{LIST}?limit=2&sort=-price,sku")).json()["next"]
    assert decoded(cursor)[0] == ["Item", "-price", "sku", "id"]
    for one in tampered(cursor):
        response = await client.get(f"{LIST}?limit=2&sort=-price,sku&after={quote(one)}")
        assert (response.status_code, fields_in(response)) == (400, ["after"]), (one, response.text)
        assert len(response.content) < 2_000
    assert len((await client.get(f"{LIST}?limit=2&sort=-price,sku&after={cursor}")).json()["items"]) == 2


async def test_a_cursor_is_of_one_list_and_one_order(client: Client) -> None:
    cursors = {
        sort: (await client.get(f"{LIST}?limit=2&sort={sort}")).json()["next"] for sort in ("", "-price", "price")
    }
    for sort, cursor in cursors.items():
        for other in cursors:
            response = await client.get(f"{LIST}?limit=2&sort={other}&after={cursor}")
            if sort == other:
                assert response.status_code == 200
            else:
                assert (response.status_code, fields_in(response)) == (400, ["after"])
    foreign = (await client.get("/crates?limit=1")).json()["next"]
    assert foreign is not None
    for path in (LIST, "/suppliers", "/counters"):
        response = await client.get(f"{path}?after={foreign}")
        assert (response.status_code, fields_in(response)) == (400, ["after"]), (path, response.text)
    both = await client.get(f"{LIST}?after={cursors['']}&offset=1")
    assert (both.status_code, fields_in(both)) == (400, ["offset"])


async def test_a_cursor_has_room_for_long_texts(client: Client) -> None:
    for n in range(3):
        assert (
            await client.post("/crates", json={"id": f"long {n}", "label": f"{'é' * 5_000} {n}"})
        ).status_code == 201
    found, after = [], ""
    while after is not None:
        page = (await client.get(f"/crates?sort=label&limit=1{after and f'&after={after}'}")).json()
        found += [one["id"] for one in page["items"]]
        after = page["next"]
    assert found == ["0", "1", "2", "long 0", "long 1", "long 2"]


async def test_another_value_in_a_cursor_is_a_position_and_no_more(client: Client) -> None:
    """It may be changed to any value of its column: then the list goes on from there, of what it would show anyway."""
    said, values = decoded((await client.get(f"{LIST}?limit=2&sort=-price,sku")).json()["next"])
    for price in ("0.00", "1E+30", "-1E+30", "0.001", "NaN", "Infinity", 1e400):
        moved = encoded([said, [price, *values[1:]]])
        response = await client.get(f"{LIST}?limit=50&sort=-price,sku&price__lt=2&after={moved}")
        assert response.status_code == 200, response.text
        assert all(float(one["price"]) < 2 for one in response.json()["items"])


async def test_what_is_refused_asks_nothing(url: str) -> None:
    app = depot(url)
    with sql_log(app) as statements:
        async with calling(app) as client:
            statements.clear()
            for query in ("limit=-1", "offset=1e9", "after=x", "total=maybe", "after=" + encoded([["id"], ["x"]])):
                assert (await client.get(f"{LIST}?{query}")).status_code == 400
            assert statements == []
