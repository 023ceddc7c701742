"""No bad token gets in, none is an error of ours, and none reaches the application."""

from collections import Counter

import httpx2
import pytest
from fastapi import FastAPI
from joserfc.jwk import ECKey, OKPKey, RSAKey

from uno.api import AuthMiddleware
from uno.security import JWTAuthProvider, JWTSettings
from uno.testing.tokens import bad_tokens, confused_tokens, good_claims, token

SECRET = "a secret of forty letters, for tests only"
NAMES = list(bad_tokens(SECRET))
ASYMMETRIC = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
}


@pytest.fixture
def provider() -> JWTAuthProvider:
    return JWTAuthProvider(JWTSettings(secret_key=SECRET))


@pytest.fixture
def seen() -> Counter[str]:
    return Counter()


@pytest.fixture
def api(provider: JWTAuthProvider, seen: Counter[str]) -> FastAPI:
    api = FastAPI()
    api.add_middleware(AuthMiddleware, provider=provider)

    @api.get("/secret")
    async def secret() -> str:
        seen["secret"] += 1
        return "the secret"

    return api


async def status_of(api: FastAPI, header: bytes) -> tuple[int, str]:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://test") as client:
        response = await client.get("/secret", headers=[(b"authorization", b"Bearer " + header)])
    return response.status_code, response.headers.get("www-authenticate", "")


def test_there_are_more_than_a_hundred_of_them() -> None:
    assert len(NAMES) >= 100


async def test_a_good_token_made_in_the_same_way_gets_in(
    provider: JWTAuthProvider, api: FastAPI, seen: Counter[str]
) -> None:
    good = token(good_claims(), secret=SECRET)
    claims = await provider.validate_token(good)
    assert claims is not None
    assert (claims.sub, claims.permissions, claims.extra) == ("ada", ["read"], {})
    assert await status_of(api, good.encode()) == (200, "")
    assert seen["secret"] == 1


@pytest.mark.parametrize("name", NAMES)
async def test_a_bad_token_is_none(provider: JWTAuthProvider, name: str) -> None:
    assert await provider.validate_token(bad_tokens(SECRET)[name]) is None


@pytest.mark.parametrize("name", NAMES)
async def test_over_http_a_bad_token_is_401_and_the_application_never_sees_the_request(
    api: FastAPI, seen: Counter[str], name: str
) -> None:
    bad = bad_tokens(SECRET)[name].encode()
    assert await status_of(api, bad) == (401, 'Bearer error="invalid_token"')
    assert seen["secret"] == 0


@pytest.mark.may_block
@pytest.mark.parametrize("algorithm", ASYMMETRIC)
async def test_a_public_key_is_no_secret(algorithm: str) -> None:
    key = ASYMMETRIC[algorithm]()
    public, private = key.as_pem(private=False).decode(), key.as_pem(private=True).decode()
    for settings in (
        JWTSettings(algorithm=algorithm, public_key=public),
        JWTSettings(algorithm=algorithm, private_key=private),
    ):
        provider = JWTAuthProvider(settings)
        confused = confused_tokens(public)
        assert {name: await provider.validate_token(bad) for name, bad in confused.items()} == dict.fromkeys(confused)


@pytest.mark.parametrize("wrong", [None, 1, b"a.b.c", ["a.b.c"]])
async def test_what_is_no_text_is_no_token(provider: JWTAuthProvider, wrong: object) -> None:
    assert await provider.validate_token(wrong) is None  # type: ignore[arg-type]


async def test_the_reason_is_logged_and_the_token_is_not(
    provider: JWTAuthProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    bad = token(good_claims(exp=1), secret=SECRET)
    await provider.validate_token(bad)
    [record] = [r for r in caplog.records if r.name.startswith("uno")]
    assert vars(record)["reason"] == "it has expired"
    assert not any(part in str(vars(record)) for part in bad.split("."))
