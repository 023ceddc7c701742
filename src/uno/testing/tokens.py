"""Tokens that no provider may accept: for tests of one's own `AuthProvider`, as of uno's.

They are made by hand, as somebody would who wants in: no library lets one sign such things.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from uno import clock

_HEADER: dict[str, Any] = {"alg": "HS256", "typ": "JWT"}
_JWK = {"kty": "oct", "k": base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")}


def encoded(part: Any) -> str:
    """`part` as base64url; anything but bytes as JSON first."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(claims: Any, header: Any = _HEADER, *, secret: str | bytes) -> str:
    """A token signed with HMAC and SHA-256, whatever its header and claims say."""
    signed = f"{encoded(header)}.{encoded(claims)}"
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signed}.{encoded(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


def good_claims(**changes: Any) -> dict[str, Any]:
    """What a token has to say; a change to `...` leaves a claim out."""
    now = int(clock.now().timestamp())
    made = {"sub": "ada", "iat": now, "exp": now + 3600, "permissions": ["read"]} | changes
    return {name: value for name, value in made.items() if value is not ...}


def bad_tokens(secret: str) -> dict[str, str]:
    """By name: what a provider for HS256 with `secret`, and without key ids, has to refuse."""
    good = token(good_claims(), secret=secret)
    return {
        **{f"text: {name}": value for name, value in _texts(good).items()},
        **{f"header: {name}": token(good_claims(), header, secret=secret) for name, header in _headers().items()},
        **{f"claims: {name}": token(claims, secret=secret) for name, claims in _claims().items()},
        **{f"signature: {name}": value for name, value in _signatures(good).items()},
        "typ of a refresh token": token(good_claims(), _HEADER | {"typ": "refresh+jwt"}, secret=secret),
        "key of the header": token(good_claims(), _HEADER | {"jwk": _JWK}, secret="k" * 32),
        "an empty key": token(good_claims(), secret=b""),
    }


def confused_tokens(public_key: str) -> dict[str, str]:
    """By name: what a provider for RS256, ES256 or EdDSA has to refuse, its PEM being known to everybody."""
    texts = {"as it is": public_key, "without its last line": public_key.strip(), "in one line": public_key[27:]}
    signed = {f"public key as secret, {name}": token(good_claims(), secret=text) for name, text in texts.items()}
    claimed = {f"HMAC called {alg}": {"alg": alg, "typ": "JWT"} for alg in ("RS256", "ES256", "EdDSA")}
    return signed | {name: token(good_claims(), header, secret=public_key) for name, header in claimed.items()}


def _texts(good: str) -> dict[str, str]:
    head, body, tail = good.split(".")
    return {
        "empty": "",
        "dots": "..",
        "one part": head,
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{tail}",
        "five parts, encrypted": f"{encoded({'alg': 'dir', 'enc': 'A256GCM'})}..{head}.{body}.{tail}",
        "no header": f".{body}.{tail}",
        "no claims": f"{head}..{tail}",
        "padding": f"{head}=.{body}==.{tail}=",
        "base64 of another alphabet": f"{head}.{body}.{tail[:-2]}+/",
        "base64 of an odd length": f"{head}.{body}A.{tail}",
        "a line break": f"{head}.{body}\n.{tail}",
        "a null": f"{head}.{body}.{tail}\0",
        "letters beyond ASCII": f"{head}.{body}.{tail[:-1]}é",
        "JSON": json.dumps({"protected": head, "payload": body, "signature": tail}),
        "a megabyte": "A" * 1_000_000,
        "a megabyte of claims": f"{head}.{'A' * 1_000_000}.{tail}",
        "a megabyte of dots": "." * 1_000_000,
    }


def _headers() -> dict[str, Any]:
    algorithms: list[Any] = ["none", "None", "NONE", "nOnE", "hs256", "HS384", "HS512", "RS256", "ES256", "EdDSA", ""]
    members: Mapping[str, Any] = {
        "crit": {"crit": ["exp"]},
        "crit of nothing": {"crit": []},
        "crit that is no list": {"crit": "exp"},
        "crit of objects": {"crit": [{}]},
        "unencoded payload": {"b64": False, "crit": ["b64"]},
        "a key": {"jwk": _JWK},
        "the address of a key": {"jku": "https://example.org/keys.json"},
        "a certificate": {"x5c": ["MIIB"]},
        "the address of a certificate": {"x5u": "https://example.org/cert.pem"},
        "kid, a path": {"kid": "../../dev/null"},
        "kid, SQL": {"kid": "x' UNION SELECT 'secret"},
        "kid, a list": {"kid": ["a"]},
        "kid, an object": {"kid": {}},
        "kid, a number": {"kid": 0},
        "kid, empty": {"kid": ""},
        "a compressed token": {"zip": "DEF"},
        "a token in a token": {"cty": "JWT"},
        "typ, a number": {"typ": 1},
        "a thumbprint of 3,000 letters": {"x5t": "x" * 3000},
    }
    twice = b'{"alg":"none","alg":"HS256"}'
    return {
        **{f"alg {alg!r}": _HEADER | {"alg": alg} for alg in (*algorithms, None, 256, ["HS256"], {"HS256": 1})},
        **{name: _HEADER | more for name, more in members.items()},
        "no alg": {"typ": "JWT"},
        "alg twice": twice,
        "a list": ["HS256"],
        "null": None,
        "not JSON": b"{'alg': 'HS256'}",
        "not UTF-8": b'{"alg":"HS256","typ":"\xff"}',
        "nested deeply": b'{"alg":"HS256","x":' + b"[" * 200 + b"]" * 200 + b"}",
    }


def _claims() -> dict[str, Any]:
    now = int(clock.now().timestamp())
    deep = b'{"sub":"ada","exp":9999999999,"x":'
    times: list[Any] = [None, "9999999999", True, -1, [9999999999], {}, 10**20, float("nan"), float("inf")]
    return {
        **{f"exp {value!r}": good_claims(exp=value) for value in times},
        **{f"sub {value!r}": good_claims(sub=value) for value in ("", None, 1, ["ada"], "a\0b", "a\r\nb", "a" * 256)},
        **{f"permissions {value!r}": good_claims(permissions=value) for value in (1, {"read": True}, [1], [["read"]])},
        **{f"not for access, {n} {v}": good_claims(**{n: v}) for n, v in _OTHER_USES},
        "expired this second": good_claims(exp=now),
        "expired long ago": good_claims(exp=0),
        "no exp": good_claims(exp=...),
        "no sub": good_claims(sub=...),
        "not valid yet": good_claims(nbf=now + 60),
        "nbf as text": good_claims(nbf="0"),
        "issued in the future": good_claims(iat=now + 60),
        "iat as text": good_claims(iat="0"),
        "an audience nobody expects": good_claims(aud="somebody else"),
        "jti as a number": good_claims(jti=1),
        "half a character": b'{"sub":"\\ud800","exp":9999999999}',
        "exp twice": b'{"sub":"ada","exp":1,"exp":9999999999}',
        "exp beyond floats": b'{"sub":"ada","exp":1e999}',
        "exp of 5,000 digits": b'{"sub":"ada","exp":' + b"9" * 5000 + b"}",
        "10,000 lists in each other": deep + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "2,500 lists in each other": deep + b"[" * 2_500 + b"]" * 2_500 + b"}",
        "500 objects in each other": deep + b'{"a":' * 500 + b"1" + b"}" * 501,
        "a list": ["ada"],
        "text": "ada",
        "a number": 1,
        "null": None,
        "not JSON": b"sub=ada",
        "not UTF-8": b'{"sub":"\xff\xfe","exp":9999999999}',
        "nothing": b"",
    }


_OTHER_USES = (
    ("token_use", "refresh"), ("token_use", "id"), ("token_use", ["access"]), ("token_use", True),
    ("typ", "Refresh"), ("type", "refresh"), ("token_type", "refresh"),
)  # fmt: skip


def _signatures(good: str) -> dict[str, str]:
    signed, _, tail = good.rpartition(".")
    other = encoded(good_claims(sub="eve"))
    return {
        "empty": f"{signed}.",
        "of other claims": f"{signed.partition('.')[0]}.{other}.{tail}",
        "shortened": f"{signed}.{tail[:-4]}",
        "lengthened": f"{signed}.{tail}AAAA",
        "with bits behind it": f"{signed}.{tail[:-1]}{chr(ord(tail[-1]) + 1)}",
        "of zeros": f"{signed}.{encoded(bytes(32))}",
        "of another key": token(good_claims(), secret="another secret, which nobody here has"),  # noqa: S106
        "of the first half": f"{signed}.{tail[:22]}",
    }
