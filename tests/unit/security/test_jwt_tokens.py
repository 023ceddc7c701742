"""Tokens that are made here, and those of others that are accepted."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from uno import clock
from uno.errors import Invalid, Misconfigured, Unavailable
from uno.security import JWTAuthProvider, JWTSettings, MemoryRevocations, TokenClaims
from uno.testing.tokens import good_claims, token

SECRET = "a secret of forty letters, for tests only"
OTHER = "another secret, of at least thirty-two bytes"
KEYS: dict[str, Callable[[], Any]] = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
}


class At(clock.SystemClock):
    """A clock that stands still, and can be set."""

    def __init__(self) -> None:
        self.time = datetime(2030, 1, 1, tzinfo=UTC)
        self.passed = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.passed

    def pass_by(self, **time: float) -> None:
        self.time += timedelta(**time)
        self.passed += timedelta(**time).total_seconds()

    def jump(self, **time: float) -> None:
        """Somebody sets the clock."""
        self.time += timedelta(**time)


@pytest.fixture
def at() -> Iterator[At]:
    with clock.use(At()) as at:
        assert isinstance(at, At)
        yield at


def provider_for(**settings: Any) -> JWTAuthProvider:
    return JWTAuthProvider(JWTSettings(**{"secret_key": SECRET} | settings))


async def test_claims_come_back_as_they_were(at: At) -> None:
    claims = TokenClaims("ada", at.now() + timedelta(hours=1), at.now(), ["read", "write"], {"team": {"id": 7}})
    provider = provider_for()
    assert await provider.validate_token(await provider.create_token(claims)) == claims


async def test_a_token_from_a_mapping_lasts_as_long_as_the_settings_say(at: At) -> None:
    provider = provider_for(access_token_expire_minutes=5)
    claims = await provider.validate_token(await provider.create_token({"sub": "ada", "team": "red"}))
    assert claims is not None
    assert (claims.sub, claims.permissions, claims.extra) == ("ada", [], {"team": "red"})
    assert claims.exp - claims.iat == timedelta(minutes=5)


async def test_a_token_ends_with_the_second_it_names(at: At) -> None:
    provider = provider_for()
    made = await provider.create_token({"sub": "ada", "exp": at.now() + timedelta(seconds=10)})
    at.pass_by(seconds=9.999)
    claims = await provider.validate_token(made)
    assert claims is not None
    assert not claims.is_expired
    at.pass_by(seconds=0.001)
    assert claims.is_expired
    assert await provider.validate_token(made) is None


async def test_leeway_is_for_clocks_that_differ(at: At) -> None:
    provider = provider_for(leeway=5)
    soon = token(good_claims(nbf=int(at.now().timestamp()) + 5, iat=int(at.now().timestamp()) + 5), secret=SECRET)
    assert await provider.validate_token(soon)
    made = await provider.create_token({"sub": "ada", "exp": at.now()})
    at.pass_by(seconds=4.9)
    assert await provider.validate_token(made)
    at.pass_by(seconds=0.1)
    assert await provider.validate_token(made) is None


@pytest.mark.may_block
@pytest.mark.parametrize("algorithm", KEYS)
async def test_who_has_the_public_key_can_check_and_not_make(algorithm: str, tmp_path: Path) -> None:
    key = KEYS[algorithm]()
    file = tmp_path / "key.pem"
    file.write_bytes(key.as_pem(private=True))
    issuer = JWTAuthProvider(JWTSettings(algorithm=algorithm, private_key=str(file), key_id="2030"))
    in_one_line = key.as_pem(private=False).decode().replace("\n", "\\n")
    checker = JWTAuthProvider(JWTSettings(algorithm=algorithm, public_key=in_one_line, key_id="2030"))
    made = await issuer.create_token({"sub": "ada"})
    assert await issuer.validate_token(made)
    assert await checker.validate_token(made)
    with pytest.raises(Misconfigured, match="UNO_JWT_PRIVATE_KEY"):
        await checker.create_token({"sub": "ada"})


async def test_tokens_of_other_libraries_are_accepted() -> None:
    made = jwt.encode({"alg": "HS256"}, good_claims(scope="read write"), OctKey.import_key(SECRET))
    claims = await provider_for(permissions_claim="scope").validate_token(made)
    assert claims is not None
    assert claims.permissions == ["read", "write"]
    assert (
        jwt.decode(await provider_for().create_token({"sub": "ada"}), OctKey.import_key(SECRET)).claims["sub"] == "ada"
    )


async def test_keys_are_rotated_without_logging_anybody_out() -> None:
    before = await provider_for(key_id="may").create_token({"sub": "ada"})
    without_id = await provider_for().create_token({"sub": "ada"})
    june = provider_for(secret_key=OTHER, key_id="june", verification_keys={"may": SECRET})
    now = await june.create_token({"sub": "ada"})
    assert await june.validate_token(before)
    assert await june.validate_token(now)
    assert await june.validate_token(without_id) is None
    assert await provider_for(key_id="may").validate_token(now) is None
    assert await provider_for(secret_key=OTHER, key_id="june").validate_token(before) is None
    assert await provider_for(secret_key=OTHER, key_id="june", verification_keys={"": SECRET}).validate_token(
        without_id
    )


async def test_the_key_of_another_id_does_not_count() -> None:
    provider = provider_for(key_id="june", verification_keys={"may": OTHER})
    header = {"alg": "HS256", "kid": "may"}
    assert await provider.validate_token(token(good_claims(), header, secret=OTHER))
    assert await provider.validate_token(token(good_claims(), header, secret=SECRET)) is None


@pytest.mark.parametrize(("said", "accepted"), [("shop", True), (["till", "shop"], True), ("till", False), ([], False)])
async def test_a_token_is_for_its_audience_only(said: object, accepted: bool) -> None:
    provider = provider_for(audience="shop")
    assert (await provider.validate_token(token(good_claims(aud=said), secret=SECRET)) is not None) is accepted
    assert await provider.validate_token(token(good_claims(), secret=SECRET)) is None


async def test_a_token_is_from_its_issuer_only() -> None:
    provider = provider_for(issuer="https://login.example.org")
    assert await provider.validate_token(await provider.create_token({"sub": "ada", "iss": "https://evil.example"}))
    assert await provider.validate_token(token(good_claims(iss="https://evil.example"), secret=SECRET)) is None
    assert await provider.validate_token(token(good_claims(), secret=SECRET)) is None


async def test_a_token_too_large_to_be_accepted_is_not_made() -> None:
    with pytest.raises(Invalid, match="put less into it"):
        await provider_for().create_token({"sub": "ada", "permissions": ["permission"] * 1000})


@pytest.mark.parametrize("claims", [{}, *({"sub": one} for one in ("", 1, "ada\nroot", "a" * 256, "\ud800"))])
async def test_a_token_without_a_subject_is_not_made(claims: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="subject"):
        await provider_for().create_token(claims)


@pytest.mark.parametrize(
    "given", [("read", "write"), ["read", "write"], "read write", dict.fromkeys(("read", "write"))]
)
async def test_permissions_may_come_in_any_collection(given: Any) -> None:
    provider = provider_for()
    claims = await provider.validate_token(await provider.create_token({"sub": "ada", "permissions": given}))
    assert claims is not None
    assert claims.permissions == ["read", "write"]


@pytest.mark.parametrize("given", [5, [1], [None], b"read", {3: "read"}])
async def test_permissions_that_are_no_names_are_refused_in_a_sentence(given: Any) -> None:
    with pytest.raises(Invalid, match="permissions of a token are a list of names"):
        await provider_for().create_token({"sub": "ada", "permissions": given})


async def test_a_set_of_permissions_is_signed() -> None:
    provider = provider_for()
    claims = await provider.validate_token(await provider.create_token({"sub": "ada", "permissions": {"read"}}))
    assert claims is not None
    assert claims.permissions == ["read"]


@pytest.mark.parametrize("jti", ["a\nb", 5])
async def test_an_id_that_would_never_be_accepted_is_not_signed(jti: Any) -> None:
    with pytest.raises(Invalid, match="id of a token"):
        await provider_for().create_token({"sub": "ada", "jti": jti})


def test_claims_without_a_time_zone_are_a_mistake() -> None:
    with pytest.raises(Misconfigured, match="time zone"):
        TokenClaims("ada", datetime(2030, 1, 1), datetime(2030, 1, 1))  # noqa: DTZ001


# ── refresh and revocation ──


async def test_a_refresh_token_opens_nothing_and_gets_one_pair() -> None:
    provider = provider_for()
    refresh = await provider.create_refresh_token({"sub": "ada", "permissions": ["read"], "team": "red"})
    assert await provider.validate_token(refresh) is None
    pair = await provider.refresh(refresh)
    assert pair is not None
    claims = await provider.validate_token(pair.access_token)
    assert claims is not None
    assert (claims.sub, claims.permissions, claims.extra["team"]) == ("ada", ["read"], "red")
    assert (pair.expires_in, pair.token_type) == (1800, "Bearer")
    assert await provider.refresh(pair.access_token) is None
    assert await provider.refresh(pair.refresh_token) is not None
    assert pair.access_token not in repr(pair)


async def test_a_refresh_token_that_comes_twice_ends_its_session(caplog: pytest.LogCaptureFixture) -> None:
    provider = provider_for()
    stolen = await provider.create_refresh_token({"sub": "ada"})
    other = await provider.create_refresh_token({"sub": "ada"})
    pair = await provider.refresh(stolen)
    assert pair is not None
    assert await provider.refresh(stolen) is None
    assert "came twice" in caplog.text
    assert await provider.validate_token(pair.access_token) is None
    assert await provider.refresh(pair.refresh_token) is None
    assert await provider.refresh(other) is not None


async def test_a_refresh_token_ends(at: At) -> None:
    provider = provider_for(refresh_token_expire_minutes=60)
    refresh = await provider.create_refresh_token({"sub": "ada"})
    at.pass_by(hours=1)
    assert await provider.refresh(refresh) is None


async def test_a_revoked_token_is_not_accepted_any_more() -> None:
    provider = provider_for()
    first, second = await provider.create_token({"sub": "ada"}), await provider.create_token({"sub": "ada"})
    assert await provider.revoke(first)
    assert not await provider.revoke(first)
    assert await provider.validate_token(first) is None
    assert await provider.validate_token(second)
    assert not await provider.revoke("nonsense")


async def test_with_its_refresh_token_a_session_is_ended() -> None:
    provider = provider_for()
    pair = await provider.refresh(await provider.create_refresh_token({"sub": "ada"}))
    assert pair is not None
    assert await provider.revoke(pair.refresh_token)
    assert await provider.validate_token(pair.access_token) is None
    assert await provider.refresh(pair.refresh_token) is None


async def make_it_forget(provider: JWTAuthProvider) -> None:
    """Revocations that are over are thrown away with the next one."""
    assert await provider.revoke(await provider.create_token({"sub": "somebody"}))


async def test_a_revoked_refresh_token_stays_revoked_until_its_own_end(at: At) -> None:
    provider = provider_for()
    refresh = await provider.create_refresh_token({"sub": "ada", "exp": at.now() + timedelta(days=365)})
    assert await provider.revoke(refresh)
    at.pass_by(days=364)
    await make_it_forget(provider)
    assert await provider.redeem(refresh) is None


async def test_a_session_is_over_for_all_its_tokens_however_long_they_last(at: At) -> None:
    provider = provider_for(access_token_expire_minutes=20 * 24 * 60)
    session = {"sub": "ada", "sid": "hers"}
    usual = await provider.create_token(session)
    long = await provider.create_token(session | {"exp": at.now() + timedelta(days=400)})
    refresh = await provider.create_refresh_token(session)
    assert await provider.revoke(refresh)
    for days in (19, 380):
        at.pass_by(days=days)
        await make_it_forget(provider)
        assert await provider.validate_token(usual) is None
        assert await provider.validate_token(long) is None


async def test_a_session_that_is_ended_twice_ends_with_the_later_token(at: At) -> None:
    revocations = MemoryRevocations()
    first, second = (JWTAuthProvider(JWTSettings(secret_key=SECRET), revocations=revocations) for _ in range(2))
    long = await first.create_refresh_token({"sub": "ada", "sid": "hers", "exp": at.now() + timedelta(days=90)})
    # Another process, which shares nothing but the revocations, does not know of it.
    assert await second.revoke(await second.create_refresh_token({"sub": "ada", "sid": "hers"}))
    assert not await second.revoke(long)
    at.pass_by(days=89)
    await make_it_forget(second)
    assert await first.redeem(long) is None


async def test_a_token_for_ever_can_be_revoked(at: At) -> None:
    provider = provider_for(leeway=30)
    for_ever = await provider.create_token({"sub": "ada", "exp": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)})
    assert await provider.revoke(for_ever)
    assert await provider.validate_token(for_ever) is None


async def test_revocations_are_forgotten_when_their_tokens_have_expired(at: At) -> None:
    revocations = MemoryRevocations()
    provider = JWTAuthProvider(JWTSettings(secret_key=SECRET), revocations=revocations)
    for _ in range(10):
        await provider.revoke(await provider.create_token({"sub": "ada"}))
    assert len(revocations) == 10
    at.pass_by(minutes=30)
    await provider.revoke(await provider.create_token({"sub": "ada"}))
    assert len(revocations) == 1


async def test_a_clock_that_is_set_ahead_and_back_brings_no_revoked_token_back(at: At) -> None:
    provider = provider_for()
    access, refresh = await provider.create_token({"sub": "ada"}), await provider.create_refresh_token({"sub": "ada"})
    assert await provider.revoke(access)
    assert await provider.redeem(refresh)
    at.jump(days=8)
    await make_it_forget(provider)
    at.jump(days=-8)
    assert await provider.validate_token(access) is None
    assert await provider.redeem(refresh) is None


async def test_a_clock_that_is_set_back_brings_no_revoked_token_back(at: At) -> None:
    provider = provider_for()
    access = await provider.create_token({"sub": "ada"})
    assert await provider.revoke(access)
    at.pass_by(minutes=29)
    at.jump(hours=-1)
    at.pass_by(minutes=29)
    await make_it_forget(provider)
    assert await provider.validate_token(access) is None
    at.pass_by(minutes=62)
    await make_it_forget(provider)
    assert await provider.validate_token(access) is None


async def test_where_revocations_cannot_be_looked_up_no_token_is_accepted() -> None:
    class Away(MemoryRevocations):
        async def revoked(self, ids: tuple[str, ...]) -> bool:
            raise Unavailable("The database does not answer.")

    provider = JWTAuthProvider(JWTSettings(secret_key=SECRET), revocations=Away())
    with pytest.raises(Unavailable):
        await provider.validate_token(await provider.create_token({"sub": "ada"}))


# ── settings ──


def pem(kind: str) -> str:
    made: dict[str, Callable[[], Any]] = {
        **KEYS,
        "short": lambda: RSAKey.generate_key(1024),
        "P-384": lambda: ECKey.generate_key("P-384"),
        "X25519": lambda: OKPKey.generate_key("X25519"),
    }
    return str(made[kind]().as_pem(private=True).decode())


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "no_secret": (dict, "UNO_JWT_SECRET_KEY is not set.*at least 32 bytes"),
    "empty": (lambda: {"secret_key": ""}, "UNO_JWT_SECRET_KEY is empty.*at least 32 bytes"),
    "short": (lambda: {"secret_key": "hunter2"}, "UNO_JWT_SECRET_KEY has 7 bytes.*at least 32 bytes"),
    "blank": (lambda: {"secret_key": " " * 40}, "UNO_JWT_SECRET_KEY has 40 bytes.*at least 32 bytes"),
    "key_as_secret": (lambda: {"secret_key": pem("RS256")}, "UNO_JWT_SECRET_KEY is a PEM key"),
    "short_old_secret": (
        lambda: {"secret_key": SECRET, "verification_keys": {"may": "x"}},
        r"UNO_JWT_VERIFICATION_KEYS\['may'\] has 1 bytes",
    ),
    "one_id_twice": (
        lambda: {"secret_key": SECRET, "key_id": "may", "verification_keys": {"may": OTHER}},
        "both have the key id 'may'",
    ),
    "no_key": (lambda: {"algorithm": "RS256"}, "Neither UNO_JWT_PRIVATE_KEY nor UNO_JWT_PUBLIC_KEY"),
    "short_rsa": (lambda: {"algorithm": "RS256", "private_key": pem("short")}, "RSA key of 2048 bits"),
    "other_curve": (lambda: {"algorithm": "ES256", "private_key": pem("P-384")}, "P-256"),
    "no_signing_curve": (lambda: {"algorithm": "EdDSA", "private_key": pem("X25519")}, "Ed25519"),
    "other_kind": (lambda: {"algorithm": "RS256", "private_key": pem("ES256")}, "RSA key"),
    "no_file": (lambda: {"algorithm": "RS256", "private_key": "hunter2"}, "UNO_JWT_PRIVATE_KEY is not usable"),
    "private_as_public": (lambda: {"algorithm": "ES256", "public_key": pem("ES256")}, "is a private key"),
}


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize(("settings", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_weak_or_wrong_key_is_refused_by_its_variable(settings: Callable[[], dict[str, Any]], sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence) as caught:
        JWTAuthProvider(JWTSettings(**settings()))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["none", "HS512", "hs256", ""])
def test_another_algorithm_cannot_be_configured(monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    monkeypatch.setenv("UNO_JWT_ALGORITHM", algorithm)
    with pytest.raises(Misconfigured, match="UNO_JWT_ALGORITHM"):
        JWTAuthProvider()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((f"{use}_TOKEN_EXPIRE_MINUTES", value) for use in ("ACCESS", "REFRESH") for value in ("inf", "1e30", "nan")),
        *(("PERMISSIONS_CLAIM", value) for value in ("sub", "exp", "jti", "sid", "token_use", "")),
    ],
)
def test_settings_that_no_token_could_have_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("UNO_JWT_SECRET_KEY", SECRET)
    monkeypatch.setenv(f"UNO_JWT_{name}", value)
    with pytest.raises(Misconfigured, match=f"UNO_JWT_{name}: "):
        JWTAuthProvider()


async def test_the_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = await provider_for(key_id="may").create_token({"sub": "ada"})
    monkeypatch.setenv("UNO_JWT_SECRET_KEY", OTHER)
    monkeypatch.setenv("UNO_JWT_KEY_ID", "june")
    monkeypatch.setenv("UNO_JWT_VERIFICATION_KEYS", json.dumps({"may": SECRET}))
    assert await JWTAuthProvider().validate_token(before)


def test_keys_are_never_shown() -> None:
    settings = JWTSettings(secret_key=SECRET, verification_keys={"may": OTHER})
    assert not any(secret in f"{settings!r} {JWTAuthProvider(settings)!r}" for secret in (SECRET, OTHER))


def test_without_joserfc_everything_else_works_and_one_sentence_says_what_to_install() -> None:
    program = """
import sys
sys.modules["joserfc"] = None
import uno.api, uno.security
from uno.errors import Misconfigured
assert uno.api.AuthProvider and uno.security.TokenClaims and uno.api.require_auth
for room in (uno.api, uno.security):
    try:
        room.JWTAuthProvider
    except Misconfigured as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert set(done.stdout.splitlines()) == {"JSON Web Tokens need joserfc: run `python -m pip install 'uno[auth]'`."}


def test_importing_the_rooms_does_not_load_joserfc() -> None:
    program = "import sys, uno.api, uno.app; print([name for name in sys.modules if 'joserfc' in name])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
