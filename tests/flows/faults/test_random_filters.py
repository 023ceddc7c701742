"""Whatever is written into the query of a list is an answer or a 400 that names it, the same on both backends.

2,000 filters, or as many as `UNO_TEST_FILTERS` says.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from tests.flows.faults.depot import Client, asked_for, calling, depot, get_raw, sql_log, undeclared

from uno.data.fields import OPERATORS as OF_KIND, Kind
from uno.data.filters import FLAG, ONE, OPERATORS, SEVERAL, TWO, Condition

FILTERS = int(os.environ.get("UNO_TEST_FILTERS", "2000"))
AT_ONCE = 10
T = TypeVar("T")

OTHERS = ["margin", "tenant", "supplier.password", "supplier.id", "data.0", "data.a'", "__class__", "sku;--", "x" * 300]
NUMBERS = [
    *("0", "-1", "1", "7", "2147483647", "2147483648", "-2147483649", "9223372036854775807", "9223372036854775808"),
    *("1.5", "-0", "-0.0", "1e3", "1e400", "-1e400", "1e-400", "1E+999999999", "1E-999999999", "0.1" + "0" * 50),
    *("NaN", "sNaN", "Infinity", "-inf", "0x10", "1_000", "٣", "½", "+5", " 5 ", "5.", ".5", "1" * 400, "99999999.99"),
    *("99999999999.99", "1.005"),
]
MOMENTS = [
    *(
        "2026-01-31",
        "2026-01-31T10:00:00Z",
        "2026-01-31T10:00:00.123456+05:30",
        "0001-01-01T00:00:00+14:00",
        "0000-01-01",
    ),
    *("9999-12-31T23:59:59.999999-14:00", "0001-01-01", "9999-12-31", "10000-01-01", "-4713-01-01", "2026-02-30"),
    *("2026-01-31T24:00:00Z", "2026-12-31T23:59:60Z", "infinity", "-infinity", "now", "today", "1e15", "253402300800"),
    *("-62135596801", "10:00", "P1D", "2026-W01-1"),
]
TEXTS = [
    *("", "a", "A-1", "%", "_", "\\", "'", "''", '"', "\0", "a\0b", "\ud800", "😀", "ß", "İ", "é", "e\u0301", "\u202e"),
    *(
        "a%_\\",
        "{",
        "{}",
        "[]",
        "null",
        "true",
        "false",
        '"',
        '"a"',
        "\\u0000",
        '"\\u0000"',
        '"\\ud800"',
        "$.a",
        "--",
        "/*",
    ),
    *("a,b", "a\\,b", ",", ",,", "\\", "x" * 2_000, "common", "rare", "COMMON", "\n", "\t", "\x7f", "\uffff", "\ufeff"),
    *("00000000-0000-7000-8000-000000000000", "{00000000-0000-7000-8000-000000000000}", "AAAA", "=", "AA=="),
]
PLAIN = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(MOMENTS), st.sampled_from(TEXTS), st.text(max_size=6))
LIKELY = st.sampled_from(["1", "5", "0", "true", "false", "common", "A-1", "2026-01-31", "1.5", "a"])
VALUES = LIKELY | PLAIN
INSIDE = st.one_of(
    LIKELY,
    PLAIN,
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 12),
    st.floats(),
    st.lists(st.integers(0, 9) | st.sampled_from(TEXTS) | st.none() | st.booleans(), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2),
)


UUIDS = ["00000000-0000-7000-8000-000000000000", "{00000000-0000-7000-8000-000000000000}", "0" * 32]
WHOLE = ["0", "-1", "1", "7", "+5", "2147483647", "-2147483648", "1_000"]
FITTING: Mapping[Kind, list[str]] = {
    "text": [one for one in TEXTS if "\0" not in one and "\ud800" not in one],
    "number": WHOLE,
    "moment": ["2026-01-31", "0001-01-01", "9999-12-31", "2024-02-29"],
    "boolean": ["true", "false", "1", "0", "yes", "off"],
    "choice": UUIDS,
    "json": [one for one in (*TEXTS, *NUMBERS, *WHOLE) if "\0" not in one and "\ud800" not in one],
    "binary": ["AAAA"],
}
KINDS: Mapping[str, tuple[Kind, list[str]]] = {
    **dict.fromkeys(("sku", "shelf", "supplier.code"), ("text", FITTING["text"])),
    **dict.fromkeys(("place", "stock", "supplier_id", "version"), ("number", WHOLE)),
    "price": ("number", [*WHOLE, "1.50", "-1.005", "99999999.99", "99999999999.99", "1E+30", "1E-30", "0." + "1" * 40]),
    "weight": ("number", [*WHOLE, "1.5", "-0.0", "1e300", "-1e308", "1e-400", "5e-324"]),
    "active": ("boolean", FITTING["boolean"]),
    "grade": ("choice", ["common", "rare"]),
    "made_on": ("moment", FITTING["moment"]),
    "seen_at": ("moment", [*FITTING["moment"], "2026-01-31T10:00:00Z", "0001-01-01T00:00:00-05:00", "253402300799"]),
    "left_at": ("moment", [*FITTING["moment"], "2026-01-31T10:00:00", "0001-01-01T00:00:00", "253402300799"]),
    "marks": ("array", FITTING["text"]),
    "created_at": ("moment", ["2026-01-31T10:00:00.123456+05:30", "9999-12-31T23:59:59.999999Z", "1", "1e9"]),
    **dict.fromkeys(("id", "batch"), ("choice", UUIDS)),
    "label": ("binary", ["AAAA"]),
    **dict.fromkeys(("data.a", "data.a.b", "data.list", "data.text"), ("json", FITTING["json"])),
    "data": ("json", ["1", "a"]),
}
OF_CRATES: Mapping[str, tuple[Kind, list[str]]] = {
    **dict.fromkeys(("id", "label"), ("text", FITTING["text"])),
    **dict.fromkeys(("weight", "version"), ("number", WHOLE)),
    "ratio": KINDS["weight"],
    "worth": KINDS["price"],
    "closed": KINDS["active"],
    "grade": KINDS["grade"],
    "packed_at": KINDS["seen_at"],
    "packed_on": KINDS["made_on"],
}


def values(operator: str, known: list[str]) -> st.SearchStrategy[list[str]]:
    """As many as the operator takes."""
    if OPERATORS[operator] == FLAG:
        return st.sampled_from([["true"], ["false"]])
    least, most = {ONE: (1, 1), SEVERAL: (0, 4), TWO: (2, 2)}[OPERATORS[operator]]
    return st.lists(st.sampled_from(known), min_size=least, max_size=most)


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")


def fitting(kinds: Mapping[str, tuple[Kind, list[str]]]) -> st.SearchStrategy[tuple[str, list[str]]]:
    """Conditions that the parser takes."""
    every = [
        (f"{name}__{operator}", operator, known)
        for name, (kind, known) in kinds.items()
        for operator in (OF_KIND[kind] if name != "data" else ("is_null", "has"))
    ]
    return st.sampled_from(every).flatmap(lambda one: values(one[1], one[2]).map(lambda found: (one[0], found)))


def wild(columns: list[str]) -> st.SearchStrategy[tuple[str, str]]:
    """Conditions that it may take."""
    names = st.one_of(st.sampled_from(columns), st.sampled_from(columns), st.sampled_from(OTHERS), st.text(max_size=6))
    operators = st.one_of(st.sampled_from(["", *OPERATORS]), st.sampled_from(["", *OPERATORS, "like", "eq__eq", "IN"]))
    keys = st.builds(lambda name, operator: f"{name}__{operator}" if operator else name, names, operators)
    return st.tuples(keys, VALUES | st.lists(VALUES, max_size=3).map(",".join))


def as_json(key: str, found: list[str]) -> dict[str, Any]:
    takes = OPERATORS[Condition(key, None).split()[1]]
    return {key: found[0] == "true" if takes == FLAG else found[0] if takes == ONE else found}


def groups(conditions: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        conditions,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts}),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts}),
            inner.map(lambda part: {"not": part}),
        ),
        max_leaves=4,
    )


BROKEN = ["", "{", "[]", "null", '{"a":', '{"sku": NaN}', '{"sku": 1, "sku": 2}', '"\\ud800"', '{"sku": "\\ud800"}']
BROKEN += ['{"or": []}', '{"and": {}}', '{"not": []}', '{"not": null}', '{"or": [1]}', '{"": 1}', '{"sku": -0}', "{}"]


def queries(
    path: str, kinds: Mapping[str, tuple[Kind, list[str]]]
) -> st.SearchStrategy[tuple[str, list[tuple[str, str]]]]:
    good = fitting(kinds)
    pairs = st.lists(good.map(lambda one: (one[0], ",".join(map(escaped, one[1])))), min_size=1, max_size=3)
    grouped = groups(good.map(lambda one: as_json(*one))).map(lambda said: [("filter", json.dumps(said))])
    bad = st.lists(wild(list(kinds)), min_size=1, max_size=2)
    odd = st.dictionaries(wild(list(kinds)).map(lambda one: one[0]), INSIDE, min_size=1, max_size=2)
    sorts = st.lists(st.sampled_from(list(kinds)), min_size=1, max_size=2).map(",".join)
    more = st.one_of(
        st.just([]),
        st.sampled_from(["sku", "-price,sku", "seen_at", "-id"] if path == "/items" else ["label", "-weight"]).map(
            lambda sort: [("sort", sort), ("total", "true")]
        ),
        st.sampled_from(["1", "3", "50"]).map(lambda n: [("limit", n), ("offset", n)]),
        st.sampled_from(["1", "3", "50"]).map(lambda n: [("limit", n)]),
    )
    wrong = st.one_of(
        sorts.map(lambda sort: [("sort", sort)]),
        st.sampled_from(NUMBERS).map(lambda n: [("limit", n)]),
        st.sampled_from(NUMBERS).map(lambda n: [("offset", n)]),
        st.sampled_from([*TEXTS, *NUMBERS]).map(lambda said: [("after", said)]),
        st.sampled_from(BROKEN).map(lambda said: [("filter", said)]),
    )
    both = st.tuples(pairs, grouped).map(lambda two: two[0] + two[1])
    likely = st.builds(lambda one, two: one + two, pairs | grouped | both, more)
    strange = st.one_of(bad, groups(odd).map(lambda said: [("filter", json.dumps(said))]), wrong)
    return st.tuples(st.just(path), st.one_of(likely, likely, strange))


ITEMS, CRATES = queries("/items", KINDS), queries("/crates", OF_CRATES)
# Hypothesis takes the same one several times for once.
QUERY = st.integers(0, 4).flatmap(lambda n: ITEMS if n else CRATES)


def items() -> list[dict[str, Any]]:
    """Rows with something of everything that is looked for."""
    inside: list[Any] = [{}, {"a": 1}, {"a": {"b": "x"}}, {"a": [1, "1", None]}, {"list": [1, 2]}, {"text": "a%_\\"}]
    inside += [{"a": None}, {"a": True, "text": ""}, {"a": 1.5}, {"a": "1"}, {"list": []}, {"a": 2**53}]
    return [
        {
            "sku": f"A-{n}",
            "shelf": [None, "", "a", "%", "_", "é"][n % 6],
            "place": [None, 0, 1, 5, 2**31 - 1, -(2**31)][n % 6],
            "price": ["0", "1.50", "-1", "99999999.99"][n % 4],
            "stock": n,
            "weight": [None, 0.0, -0.0, 1.5, 1e300][n % 5],
            "active": n % 2 == 0,
            "grade": ["common", "rare"][n % 2],
            "made_on": [None, "2026-01-31", "0001-01-01", "9999-12-31"][n % 4],
            "seen_at": [None, "2026-01-31T10:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"][n % 4],
            "left_at": [None, "2026-01-31T10:00:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59"][n % 4],
            "marks": [None, [], ["a"], ["1", "%", "é"]][n % 4],
            "label": [None, "", "AAAA"][n % 3],
            "data": data,
            "supplier_id": [None, 1][n % 2],
        }
        for n, data in enumerate(inside)
    ]


class Watched:
    """The depot on one backend, and what its database was asked."""

    def __init__(self, client: Client, statements: list[str]) -> None:
        self.client = client
        self.statements = statements
        self.looked_at: set[str] = set()

    def look(self) -> None:
        """At what is new: only declared columns, and none that is hidden."""
        new = set(self.statements) - self.looked_at
        self.looked_at |= new
        self.statements.clear()
        assert undeclared(list(new)) == []
        assert not [one for one in new if "margin" in asked_for(one) or "password" in asked_for(one)]


@pytest.fixture
async def both(depots: Any, tmp_path: Any) -> AsyncIterator[list[Watched]]:
    from tests.flows.faults.conftest import copied

    async with AsyncExitStack() as stack:
        found = []
        for url in (copied(depots, tmp_path), f"{await depots[0].create('depot')}?sslmode=disable"):
            app = depot(url)
            statements = stack.enter_context(sql_log(app))
            client = await stack.enter_async_context(calling(app))
            assert (await client.post("/suppliers", json={"code": "A-1", "city": "Ulm"})).status_code == 201
            made = await client.post("/items/bulk", json={"items": items()})
            assert made.status_code == 201, made.text
            for n, label in enumerate(["", "a", "A-1", "%", "é"]):
                crate = {"id": str(n), "label": label, "weight": n, "worth": ["1.50", "0", "-1E+20"][n % 3]}
                crate |= {
                    name: items()[n + 2][f"{old}"] for name, old in (("packed_at", "seen_at"), ("packed_on", "made_on"))
                }
                made = await client.post("/crates", json=crate)
                assert made.status_code == 201, made.text
            statements.clear()
            found.append(Watched(client, statements))
        yield found


def query_of(pairs: list[tuple[str, str]]) -> bytes:
    return urlencode(pairs, errors="surrogatepass").encode()


def told(response: httpx2.Response, pairs: list[tuple[str, str]]) -> str:
    """The kind of answer; nothing but these two may be."""
    assert response.status_code in (200, 400), f"{response.status_code} {pairs!r} {response.text}"
    if response.status_code == 200:
        found = sorted(one.get("sku") or one["id"] for one in response.json()["items"])
        # Which ones are on a page depends on ids that are random.
        return f"200 {len(found) if dict(pairs).keys() & {'limit', 'offset'} else found}"
    problem: Mapping[str, Any] = response.json()
    fields = [one["field"] for one in problem["errors"]]
    said = {key if len(key) <= 200 else f"{key[:200]}…" for key, _ in pairs}
    inner = " ".join(value for key, value in pairs if key == "filter")
    known = {"query", "filter", "and", "or", "not", "after", *said}
    assert fields, f"{pairs!r} {problem}"
    assert all(one in known or json.dumps(one.rstrip("…"))[1:-1] in inner for one in fields), f"{pairs!r} {problem}"
    return f"400 {fields}"


async def test_a_random_filter_is_an_answer_or_an_error_that_names_it(both: list[Watched]) -> None:
    counted: Counter[str] = Counter()

    async def ask(asked: list[tuple[str, list[tuple[str, str]]]]) -> None:
        for path, pairs in asked:
            answers = []
            for one in both:
                answers.append(told(await get_raw(one.client, path, query_of(pairs)), pairs))
                one.look()
            assert len(set(answers)) == 1, f"{path} {pairs!r} {answers}"
            counted[answers[0][:3]] += 1
            if counted.total() % 5_000 == 0:
                print(f"random filters: {dict(counted)}", flush=True)

    await each_of(st.lists(QUERY, min_size=AT_ONCE, max_size=AT_ONCE), -(-FILTERS // AT_ONCE), ask)
    print(f"random filters: {dict(counted)}")
    assert counted.total() >= FILTERS
    # What is refused before the database sees it would prove little.
    assert counted["200"] >= counted.total() * 0.25


async def each_of(strategy: st.SearchStrategy[T], number: int, ask: Callable[[T], Coroutine[Any, Any, None]]) -> None:
    """Asked in this loop; hypothesis chooses in a thread of its own."""
    loop = asyncio.get_running_loop()

    @given(chosen=strategy)
    @settings(
        max_examples=number,
        # The message has the one that failed: to find a smaller one takes minutes.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def choose(chosen: T) -> None:
        asyncio.run_coroutine_threadsafe(ask(chosen), loop).result()

    await asyncio.to_thread(choose)


async def test_a_decimal_is_compared_as_it_was_written(both: list[Watched]) -> None:
    """Not rounded to the scale of its column."""
    for one in both:
        for price in ("1.00", "1.01"):
            assert (await one.client.post("/items", json={"sku": price, "price": price})).status_code == 201
        expected = {
            "price=1.005": [],
            "price__in=1.005,1.0100": ["1.01"],
            "price__lt=1.005": ["1.00"],
            "price__between=1.004,1E40": ["1.01"],
            "price__ne=1E40": ["1.00", "1.01"],
        }
        for query, found in expected.items():
            response = await one.client.get(f"/items?{query}&sku__in=1.00,1.01&sort=sku")
            assert [item["sku"] for item in response.json()["items"]] == found, (query, response.text)
