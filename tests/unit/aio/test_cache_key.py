"""Keys of caches: equal for the same, different for anybody who may see something else."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntFlag, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from uno import context
from uno.aio import cache_key
from uno.context import Context
from uno.errors import Misconfigured, Unauthenticated
from uno.security import Principal, response_key
from uno.security.principal import use_principal


class Colour(Enum):
    RED = 1


class Shade(StrEnum):
    RED = "red"


class May(IntFlag):
    READ = 1
    WRITE = 2


class Opaque(Enum):
    A = object()
    B = frozenset()


def named_alike(number: int) -> Any:
    class Level(Enum):
        HIGH = number

    return Level.HIGH


ONE = UUID(int=1)
PARTS: list[Any] = [
    None, "None", "", 1, "1", 1.5, True, "true", ONE, str(ONE), Decimal("1.5"), date(2026, 1, 2),
    datetime(2026, 1, 2, tzinfo=UTC), Colour.RED, Shade.RED, "red", [], ["red"], [["red"]],
    ["red", "1"], "\"red\"", "a,b",
    ["a", "b"], "UUID", May(0), May(8), May(16), May.READ, May.READ | May.WRITE, May.READ | May(8), Opaque.A, Opaque.B,
    named_alike(1), named_alike(2),
]  # fmt: skip


def test_different_parts_make_different_keys_and_equal_ones_the_same() -> None:
    keys = [cache_key("orders", part) for part in PARTS]
    assert len(set(keys)) == len(PARTS)
    assert keys == [cache_key("orders", part) for part in PARTS]
    assert cache_key("a", "b") != cache_key(["a", "b"]) != cache_key('a","b')


def test_tenants_and_permissions_have_keys_of_their_own() -> None:
    found = [cache_key("orders", 1), cache_key("orders", 1, permissions=["read"])]
    for tenant in ("a", "b", "null"):
        with context.use(Context(tenant=tenant)):
            found += [cache_key("orders", 1), cache_key("orders", 1, permissions=["read", "write"])]
    assert len(set(found)) == len(found)
    assert cache_key(1, permissions=["b", "a", "a"]) == cache_key(1, permissions={"a", "b"})


def test_the_key_of_a_response_has_what_the_principal_may() -> None:
    with use_principal(None):
        nobody = response_key("orders")
    with use_principal(Principal("ann", frozenset({"orders:read"}))):
        ann = response_key("orders")
        assert response_key("orders", personal=True) != ann
    with use_principal(Principal("bob", frozenset({"orders:read"}))):
        assert response_key("orders") == ann
        mine = response_key("orders", personal=True)
        assert mine != ann
    with use_principal(Principal("bob", frozenset())):
        assert response_key("orders") not in (ann, mine)
    # Somebody without permissions is not nobody.
    with use_principal(Principal("eve")):
        assert response_key("orders") != nobody


def test_what_may_look_the_same_is_refused() -> None:
    with pytest.raises(Misconfigured, match="^object objects cannot be parts of a key; use their ids"):
        cache_key(object())
    with pytest.raises(Misconfigured, match="dict"):
        cache_key([{"a": 1}])
    with pytest.raises(Misconfigured, match="permissions"):
        cache_key(1, permissions="read")


def test_a_personal_key_is_that_of_a_principal_and_not_of_an_actor_that_a_header_names() -> None:
    with context.use(Context(actor="ann", actor_source="header")), pytest.raises(Unauthenticated, match="nobody"):
        response_key(1, personal=True)


@given(st.lists(st.text() | st.integers() | st.none() | st.booleans(), max_size=4), st.data())
def test_only_equal_lists_of_parts_have_equal_keys(parts: list[Any], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.sampled_from([*parts, "x"]), max_size=4))
    same = [(type(one), one) for one in parts] == [(type(one), one) for one in other]
    assert (cache_key(*parts) == cache_key(*other)) is same
