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

from typing import TYPE_CHECKING

from uno.extras import Extra, front_door
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

# Of `uno.api`, too.
EXTRAS = {"JWTAuthProvider": Extra("auth", "JSON Web Tokens need joserfc", ("joserfc",), "uno.security.jwt")}

if not TYPE_CHECKING:  # a checker that saw this would believe every name exists
    __all__, __getattr__, __dir__ = front_door(__name__, __all__, EXTRAS)
