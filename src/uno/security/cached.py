"""The key under which an answer may be cached: whoever may see something else has another one."""

from typing import Any

from uno.aio import cache_key
from uno.errors import Unauthenticated
from uno.security.principal import current_principal


def response_key(*parts: Any, personal: bool = False) -> str:
    """The key of what `parts` name, for the tenant of the context and the permissions of the principal.

    `personal`: for the principal alone; raises `Unauthenticated` where nobody is logged in. Never an actor that a
    header names. Raises `Misconfigured` for parts that `uno.aio.cache_key` does not take.
    """
    principal = current_principal()
    if principal is None:
        if personal:
            raise Unauthenticated("A personal key needs a principal, and nobody is logged in.")
        return cache_key("nobody", *parts)
    who = ["principal", principal.subject] if personal else ["principal"]
    return cache_key(who, *parts, permissions=principal.permissions)
