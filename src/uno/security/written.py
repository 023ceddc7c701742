"""What is signed: claims as JSON, if a token with them would be accepted."""

import json
from collections.abc import Mapping
from typing import Any

from uno.errors import Invalid
from uno.security.claims import USE, Rules, Use, other_use
from uno.security.strict import Refused, parse
from uno.security.tokens import TokenClaims

_CURES = {
    "exp": "give a time that is still to come",
    "iat": "leave it out",
    "nbf": "give a time before exp",
    "aud": "leave it out, or set UNO_JWT_AUDIENCE, and every token has that",
    **dict.fromkeys(("typ", "type", "token_type"), "leave it out"),
}


def written(claims: TokenClaims, use: Use, rules: Rules) -> bytes:
    """The claims as a token has them. Raises `Invalid` for what `rules` would never accept."""
    said = _payload(claims, use, rules)
    text = _json(said)
    try:
        found = parse(text)
        if name := other_use(found):
            # Of a refresh token, too: access tokens are made of it.
            raise Refused("it is not an access token", name)
        rules.read(found, use, sometime=True)
    except Refused as refusal:
        raise _never(refusal) from None
    return text


def _payload(claims: TokenClaims, use: Use, rules: Rules) -> dict[str, Any]:
    """What `extra` says of these claims is not taken."""
    made = {
        **claims.extra,
        "sub": claims.sub,
        "exp": int(claims.exp.timestamp()),
        "iat": int(claims.iat.timestamp()),
        rules.permissions_claim: list(claims.permissions),
        "jti": claims.jti,
        USE: use,
    }
    named = {"iss": rules.issuer, "aud": rules.audience}
    return made | {name: value for name, value in named.items() if value is not None}


def _json(said: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(said, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        name = next((name for name, value in said.items() if not _is_json({name: value})), "")
        text = "no JSON; give texts, finite numbers, lists and dicts of them, and a time in seconds since 1970."
        raise Invalid.field(str(name), f"This claim of the token is {text}") from None


def _is_json(said: Mapping[str, Any]) -> bool:
    try:
        json.dumps(said, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _never(refusal: Refused) -> Invalid:
    cure = _CURES.get(refusal.claim)
    text = f"A token with this would never be accepted: {refusal}{f'; {cure}' if cure else ''}."
    return Invalid.field(refusal.claim, text) if refusal.claim else Invalid(text)
