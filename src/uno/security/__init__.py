"""Who asks, and what they may do: principals, tokens, policies.

principal.py    the principal of the current request
tokens.py       TokenClaims and the port of whoever makes and checks tokens
jwt.py          JWTAuthProvider: access and refresh tokens
claims.py       what the claims of a token have to be
written.py      what is signed: only what would be accepted
keys.py         keys, signatures and headers; the one file that knows joserfc
strict.py       JSON that means one thing only
revocations.py  tokens that are no longer valid before they expire
policy.py       what an `access` asks for
cached.py       keys of cached answers, with the permissions of who asks
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from uno.errors import Misconfigured
from uno.security.cached import response_key
from uno.security.policy import Policies, needed, policy_problems
from uno.security.principal import Principal, current_principal, require_principal
from uno.security.revocations import MemoryRevocations, Revocations
from uno.security.tokens import AuthProvider, TokenClaims, TokenPair
from uno.settings import JWTSettings

if TYPE_CHECKING:
    from uno.security.jwt import JWTAuthProvider as JWTAuthProvider

__all__ = [
    "AuthProvider",
    "JWTAuthProvider",
    "JWTSettings",
    "MemoryRevocations",
    "Policies",
    "Principal",
    "Revocations",
    "TokenClaims",
    "TokenPair",
    "current_principal",
    "needed",
    "policy_problems",
    "require_principal",
    "response_key",
]


def __getattr__(name: str) -> Any:
    if name != "JWTAuthProvider":
        raise AttributeError(f"module 'uno.security' has no attribute {name!r}")
    if find_spec("joserfc") is None:
        raise Misconfigured("JSON Web Tokens need joserfc: run `python -m pip install 'uno[auth]'`.")
    value = globals()[name] = import_module("uno.security.jwt").JWTAuthProvider
    return value
