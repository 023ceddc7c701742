"""Which keys there are, and how a header says one."""

import re

import pytest
from hypothesis import given, strategies as st

from uno.bus import idempotent
from uno.bus.idempotency import current_key, fingerprint, parse_key, refuse_keys
from uno.errors import Invalid

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
keys = st.text(PRINTABLE, min_size=1, max_size=255)


def quoted(key: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", key) + '"'


@given(keys)
def test_every_key_can_be_said_in_quotes(key: str) -> None:
    assert parse_key(quoted(key)) == key


@given(keys.filter(lambda key: key == key.strip() and not key.startswith('"')))
def test_a_key_that_begins_with_no_quote_can_be_said_as_it_is(key: str) -> None:
    assert parse_key(key) == key


def key_or_error(header: str) -> str | Invalid:
    try:
        return parse_key(header)
    except Invalid as error:
        return error


@given(st.text(max_size=300) | st.text(PRINTABLE + '"\\', max_size=300))
def test_any_header_is_a_key_or_is_refused_by_name(header: str) -> None:
    found = key_or_error(header)
    if isinstance(found, Invalid):
        assert [error.field for error in found.errors] == ["Idempotency-Key"]
    else:
        assert 1 <= len(found) <= 255
        assert set(found) <= set(PRINTABLE)
        assert header in (found, quoted(found))


@pytest.mark.parametrize(
    "header", ["", '""', '"', '"a', 'a"\n', '"a\\b"', '"a" ', '"a";b=1', " a", "é", "a\x00", "a" * 256]
)
def test_what_is_no_key_is_refused(header: str) -> None:
    with pytest.raises(Invalid, match="Idempotency-Key"):
        parse_key(header)


@pytest.mark.parametrize("key", ["", "\n", "é", "x" * 256])
def test_a_wrong_key_is_refused_in_python(key: str) -> None:
    with pytest.raises(Invalid), idempotent(key):
        raise AssertionError("it was taken")


def test_a_key_ends_with_its_block() -> None:
    with idempotent("outer") as outer:
        with pytest.raises(ValueError, match="x"), idempotent("inner") as inner:
            assert current_key.get() is inner
            raise ValueError("x")
        assert current_key.get() is outer
    assert current_key.get() is None


@given(st.lists(st.binary()), st.lists(st.binary()))
def test_a_fingerprint_tells_its_parts_apart(one: list[bytes], other: list[bytes]) -> None:
    assert (fingerprint(*one) == fingerprint(*other)) is (one == other)


async def test_without_a_store_a_key_is_refused_and_nothing_else() -> None:
    async def handler(message: str) -> str:
        return message

    assert await refuse_keys("a", handler) == "a"
    with idempotent("k"), pytest.raises(Invalid, match="no database"):
        await refuse_keys("a", handler)
