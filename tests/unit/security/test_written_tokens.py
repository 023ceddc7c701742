"""What would never be accepted is not signed, and the error names the claim."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from uno import clock
from uno.errors import Invalid, Misconfigured
from uno.security import JWTAuthProvider, JWTSettings, TokenClaims

SECRET = "a secret of forty letters, for tests only"
FAR = 99_999_999_999


def provider_for(**settings: Any) -> JWTAuthProvider:
    return JWTAuthProvider(JWTSettings(**{"secret_key": SECRET} | settings))


circular: list[Any] = []
circular.append(circular)
deep: Any = "x"
for _ in range(40):
    deep = [deep]

NEVER: dict[str, tuple[dict[str, Any], str]] = {
    "an audience nobody set": ({"aud": "x"}, "^aud: .*UNO_JWT_AUDIENCE is not set"),
    "over": ({"exp": 5}, "^exp: .*it has expired; give a time that is still to come"),
    "at no time": ({"exp": -5}, "^exp: .*not a time"),
    "made in the future": ({"iat": FAR}, "^iat: .*issued in the future; leave it out"),
    "later than its end": ({"nbf": FAR}, "^nbf: .*not valid before it has expired; give a time before exp"),
    "valid from no time": ({"nbf": "tomorrow"}, "^nbf: .*not a time"),
    "of another use": ({"type": "Refresh"}, "^type: .*not an access token; leave it out"),
    "an object": ({"x": object()}, "^x: This claim of the token is no JSON"),
    "inside": ({"a": 1, "x": {"y": [object()]}}, "^x: This claim"),
    "a datetime": ({"nbf": datetime(2030, 1, 1, tzinfo=UTC)}, "^nbf: .*a time in seconds since 1970"),
    "no number": ({"x": float("nan")}, "^x: .*finite numbers"),
    "circular": ({"x": circular}, "^x: This claim"),
    "deep": ({"x": deep}, "nested too deeply"),
    "twice": ({"x": {1: "a", "1": "b"}}, "a key twice"),
}


@pytest.mark.parametrize("made", ["create_token", "create_refresh_token"])
@pytest.mark.parametrize("name", NEVER)
async def test_what_would_never_be_accepted_is_not_signed(name: str, made: str) -> None:
    claims, sentence = NEVER[name]
    with pytest.raises(Invalid, match=sentence):
        await getattr(provider_for(), made)({"sub": "ada"} | claims)


async def test_claims_that_have_expired_are_not_signed_again() -> None:
    now = clock.now()
    with pytest.raises(Invalid, match="exp"):
        await provider_for().create_token(TokenClaims("ada", now - timedelta(minutes=1), now - timedelta(hours=1)))


async def test_a_token_may_be_made_for_later() -> None:
    class At(clock.SystemClock):
        time = datetime(2030, 1, 1, tzinfo=UTC)

        def now(self) -> datetime:
            return self.time

    at = At()
    with clock.use(at):
        provider = provider_for()
        later = at.time + timedelta(minutes=10)
        made = await provider.create_token({"sub": "ada", "nbf": int(later.timestamp())})
        assert await provider.validate_token(made) is None
        at.time = later
        assert await provider.validate_token(made)


async def test_a_session_that_a_refresh_token_could_not_have_is_not_signed() -> None:
    with pytest.raises(Invalid, match="^sid: "):
        await provider_for().create_refresh_token({"sub": "ada", "sid": 5})


@pytest.mark.parametrize("given", ["ada", None, 5, ["ada"]])
async def test_a_token_of_something_else_than_claims_is_a_mistake(given: Any) -> None:
    with pytest.raises(Misconfigured, match="A token is made of TokenClaims or a mapping"):
        await provider_for().create_token(given)


def test_a_setting_given_to_the_provider_is_told_its_place() -> None:
    with pytest.raises(Misconfigured, match=r"JWTAuthProvider\(JWTSettings\(secret_key=\.\.\.\)\)") as raised:
        cast(Any, JWTAuthProvider)(secret_key=SECRET)
    assert SECRET not in str(raised.value)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda one: st.lists(one, max_size=3)
)
NAMES = st.sampled_from(["aud", "iss", "exp", "iat", "nbf", "jti", "sid", "typ", "scope", "token_use", "x"])


@given(extra=st.dictionaries(NAMES, ANY | st.integers(1, 2**33), max_size=4), audience=st.sampled_from([None, "shop"]))
async def test_what_is_signed_is_accepted_at_once_or_from_its_nbf_on(
    extra: dict[str, Any], audience: str | None
) -> None:
    provider = provider_for(audience=audience)
    try:
        made = await provider.create_token({"sub": "ada"} | extra)
    except Invalid:
        return
    nbf = extra.get("nbf", 0)
    assert await provider.validate_token(made) is not None or nbf > clock.now().timestamp()
