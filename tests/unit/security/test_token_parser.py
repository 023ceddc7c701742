"""Whatever comes as a token is claims or None, and never an error."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from uno.errors import Misconfigured
from uno.security import JWTAuthProvider, JWTSettings, Policies, Principal, TokenClaims, current_principal, needed
from uno.security.policy import policy_problems
from uno.security.principal import use_principal
from uno.security.strict import Refused, parse
from uno.sync import drive
from uno.testing.tokens import good_claims, token

SECRET = "a secret of forty letters, for tests only"
PROVIDER = JWTAuthProvider(JWTSettings(secret_key=SECRET))
GOOD = token(good_claims(), secret=SECRET)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8
)
names = st.sampled_from(["sub", "exp", "iat", "nbf", "aud", "iss", "jti", "sid", "permissions", "token_use", "typ"])


def validated(text: str) -> TokenClaims | None:
    # Nothing here waits for anything, so no event loop is needed.
    return drive(PROVIDER.validate_token(text))


@given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
def test_any_text_is_none(text: str) -> None:
    assert validated(text) is None


@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_a_token_with_one_letter_changed_is_none(place: int, letter: str) -> None:
    changed = GOOD[:place] + letter + GOOD[place + 1 :]
    assert (validated(changed) is not None) is (changed == GOOD)


@settings(deadline=None)
@given(st.dictionaries(names, values, max_size=4))
def test_any_claims_are_refused_or_well_formed(changes: dict[str, Any]) -> None:
    claims = validated(token(good_claims(**changes), secret=SECRET))
    if claims is not None:
        assert claims.sub
        assert claims.sub.isprintable()
        assert not claims.is_expired
        assert all(isinstance(one, str) for one in claims.permissions)


@given(st.dictionaries(names | st.sampled_from(["alg", "kid", "crit", "jwk"]), values, max_size=4))
def test_any_header_is_refused_or_names_the_algorithm(changes: dict[str, Any]) -> None:
    claims = validated(token(good_claims(), {"alg": "HS256", **changes}, secret=SECRET))
    assert claims is None or changes.get("alg", "HS256") == "HS256"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    with suppress(Refused):
        assert isinstance(parse(data), dict)


@pytest.mark.parametrize("depth", [32, 33])
def test_brackets_in_a_text_are_not_depth(depth: int) -> None:
    inside = b"[" * (depth - 1) + b"]" * (depth - 1)
    assert parse(b'{"x":"' + b"[" * 1000 + b'\\""}')
    if depth == 32:
        assert parse(b'{"x":' + inside + b"}")
    else:
        with pytest.raises(Refused, match="nested"):
            parse(b'{"x":' + inside + b"}")


# ── principals and policies ──


def test_a_principal_may_what_its_permissions_say() -> None:
    ada = Principal("ada", frozenset({"read", "write"}))
    assert ada.may("read")
    assert ada.may("read", "write")
    assert not ada.may("read", "delete")
    assert ada.may_any(["read", "delete"])
    assert not ada.may_any(["delete"])
    assert not ada.may_any([])


def test_the_current_principal_is_current_inside_a_block_only() -> None:
    assert current_principal() is None
    with use_principal(Principal("ada")):
        assert current_principal() == Principal("ada")
        with use_principal(None):
            assert current_principal() is None
    assert current_principal() is None


@pytest.mark.parametrize(
    ("access", "permissions"),
    [
        ("open", None),
        ("authenticated", frozenset()),
        ("gardener", frozenset({"read", "water"})),
        ("tickets:close", frozenset({"tickets:close"})),
    ],
)
def test_an_access_asks_for_permissions(access: str, permissions: frozenset[str] | None) -> None:
    policies: Policies = {"gardener": ["read", "water"]}
    assert needed(access, policies) == permissions
    assert not policy_problems(policies)


def test_one_wrong_letter_in_a_policy_name_keeps_everybody_out() -> None:
    assert needed("gardner", {"gardener": ["read"]}) == {"gardner"}


def test_settings_that_make_no_key_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNO_JWT_SECRET_KEY", raising=False)
    with pytest.raises(Misconfigured, match="UNO_JWT_SECRET_KEY is not set"):
        JWTAuthProvider()
