"""Keys, signatures and headers of JSON Web Tokens (RFC 7515, 7518), by joserfc."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from uno.errors import Misconfigured
from uno.security.strict import Refused, parse
from uno.security.tokens import MAX_TOKEN_BYTES
from uno.settings import JWTSettings

_SECRET_BYTES, _RSA_BITS = 32, 2048
_CLASSES: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey}
_KINDS = {"RS256": f"RSA key of {_RSA_BITS} bits or more", "ES256": "EC key on P-256", "EdDSA": "Ed25519 key"}
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# `x5t` only names a certificate. `crit`, `jwk`, `jku`, `x5c`, `x5u`, `b64`, `cty` are not among them.
_MEMBERS = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
_MOST_HEADERS, _LONGEST_HEADER = 64, 512


class _Pinned(jws.JWSRegistry):
    """Knows one algorithm, and says nothing of what it thinks of it each time."""

    def __init__(self, name: str) -> None:
        super().__init__(algorithms=[name])
        self.algorithm = self.algorithms[name]

    def get_alg(self, name: str) -> Any:
        if name != self.algorithm.name:
            raise UnsupportedAlgorithmError("It is another algorithm.")
        return self.algorithm


class Keys:
    """One key to sign with, and all that are accepted, by key id. Raises `Misconfigured` for a weak or wrong one."""

    def __init__(self, settings: JWTSettings) -> None:
        self._algorithm = settings.algorithm
        self._registry = _Pinned(settings.algorithm)
        self._key_id = settings.key_id or None
        own = _own(settings)
        self._signing = own if own is not None and own.is_private else None
        self._keys = _accepted(settings, own)
        # Most tokens have the same header: it is read once.
        self._headers: dict[str, tuple[Key, str]] = {}

    def sign(self, payload: bytes, kind: str) -> str:
        """The token; `kind` is the `typ` of its header."""
        if self._signing is None:
            raise Misconfigured(f"There is no key to sign with: {self._algorithm} needs UNO_JWT_PRIVATE_KEY.")
        header = {"alg": self._algorithm, "typ": kind} | ({"kid": self._key_id} if self._key_id else {})
        return jws.serialize_compact(header, payload, self._signing, registry=self._registry)

    def verified(self, token: str) -> tuple[str, bytes]:
        """The `typ` in lower case and the payload of a token whose signature is right. Raises `Refused`."""
        if len(token) > MAX_TOKEN_BYTES:
            raise Refused("it is too long")
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise Refused("it is not three parts of base64")
        head, body, signature = match.groups()
        key, kind = self._headers.get(head) or self._read_header(head)
        # joserfc would read the header again, and each time: that is half of what a token costs.
        try:
            payload = urlsafe_b64decode(body.encode())
            is_right = self._registry.algorithm.verify(
                token[: match.end(2)].encode(), urlsafe_b64decode(signature.encode()), key
            )
        except (JoseError, ValueError):
            is_right, payload = False, b""
        if not is_right:
            raise Refused("its signature is wrong")
        return kind, payload

    def _read_header(self, segment: str) -> tuple[Key, str]:
        if len(segment) > _LONGEST_HEADER:
            raise Refused("its header is too long")
        header = parse(_decoded(segment))
        if not header.keys() <= _MEMBERS:
            raise Refused("its header asks for something that is not supported")
        if header.get("alg") != self._algorithm:
            raise Refused("it is signed with another algorithm")
        kid, kind = header.get("kid"), header.get("typ", "")
        if not isinstance(kid, str | None) or kid not in self._keys or not isinstance(kind, str):
            raise Refused("it is signed with an unknown key")
        if len(self._headers) >= _MOST_HEADERS:
            self._headers.clear()
        found = self._headers[segment] = self._keys[kid], kind.lower().removeprefix("application/")
        return found


def _decoded(segment: str) -> bytes:
    try:
        return urlsafe_b64decode(segment.encode())
    except ValueError:
        raise Refused("it is not three parts of base64") from None


# ── from settings to keys ──


def _own(settings: JWTSettings) -> Key | None:
    if settings.algorithm == "HS256":
        secret = settings.secret_key
        return None if secret is None else _secret("UNO_JWT_SECRET_KEY", secret.get_secret_value())
    if settings.private_key is not None:
        key = _pem("UNO_JWT_PRIVATE_KEY", settings.private_key.get_secret_value(), settings.algorithm)
        if not key.is_private:
            raise Misconfigured("UNO_JWT_PRIVATE_KEY is a public key; set it as UNO_JWT_PUBLIC_KEY.")
        return key
    if settings.public_key is not None:
        key = _pem("UNO_JWT_PUBLIC_KEY", settings.public_key, settings.algorithm)
        if key.is_private:
            raise Misconfigured("UNO_JWT_PUBLIC_KEY is a private key; set it as UNO_JWT_PRIVATE_KEY.")
        return key
    return None


def _accepted(settings: JWTSettings, own: Key | None) -> Mapping[str | None, Key]:
    found: dict[str | None, Key] = {} if own is None else {settings.key_id or None: own}
    for kid, value in settings.verification_keys.items():
        if (kid or None) in found:
            raise Misconfigured(f"UNO_JWT_VERIFICATION_KEYS and UNO_JWT_KEY_ID both have the key id {kid!r}.")
        found[kid or None] = _more(kid, value.get_secret_value(), settings.algorithm)
    if not found or (own is None and settings.algorithm == "HS256"):
        raise Misconfigured(_missing(settings.algorithm))
    if len(found) == 1:
        found = {None: next(iter(found.values())), **found}
    return found


def _missing(algorithm: str) -> str:
    if algorithm == "HS256":
        return f"UNO_JWT_SECRET_KEY is not set; {_advice()}"
    return f"Neither UNO_JWT_PRIVATE_KEY nor UNO_JWT_PUBLIC_KEY is set; {algorithm} needs a PEM {_KINDS[algorithm]}."


def _advice() -> str:
    command = "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    return f"HS256 needs a random secret of at least {_SECRET_BYTES} bytes, for instance of `{command}`."


def _more(kid: str, value: str, algorithm: str) -> Key:
    variable = f"UNO_JWT_VERIFICATION_KEYS[{kid!r}]"
    return _secret(variable, value) if algorithm == "HS256" else _pem(variable, value, algorithm)


def _secret(variable: str, text: str) -> Key:
    data = text.encode()
    if "-----BEGIN" in text:
        raise Misconfigured(f"{variable} is a PEM key, which is no secret for HS256; choose UNO_JWT_ALGORITHM for it.")
    if len(data.strip()) < _SECRET_BYTES:
        told = f"has {len(data)} bytes" if data else "is empty"
        raise Misconfigured(f"{variable} {told}; {_advice()}")
    try:
        return OctKey.import_key(data)
    except ValueError:
        raise Misconfigured(f"{variable} is a public key, which is no secret; {_advice()}") from None


def _pem(variable: str, text: str, algorithm: str) -> Key:
    wrong = Misconfigured(f"{variable} is not usable: {algorithm} needs a PEM {_KINDS[algorithm]}, or a file with one.")
    if "-----BEGIN" not in text:
        try:
            text = Path(text).read_text()
        except (OSError, ValueError):
            raise wrong from None
    try:
        # In a variable a line often ends with a backslash and an n.
        key = _CLASSES[algorithm].import_key(text.replace("\\n", "\n"))
    except (JoseError, ValueError, TypeError):
        raise wrong from None
    if not _is_strong(key):
        raise wrong
    return key


def _is_strong(key: Key) -> bool:
    if isinstance(key, RSAKey):
        return bool(key.raw_value.key_size >= _RSA_BITS)
    return isinstance(key, ECKey | OKPKey) and key.curve_name in ("P-256", "Ed25519")
