"""What an `access` asks for."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from uno.errors import Problem

# The name of a policy, and the permissions it asks for: all of them.
Policies: TypeAlias = Mapping[str, Sequence[str]]


def needed(access: str, policies: Policies) -> frozenset[str] | None:
    """The permissions `access` asks for: none at all for "authenticated", and None for "open".

    Anything else is the name of a policy, or else itself a permission.
    """
    if access == "open":
        return None
    if access == "authenticated":
        return frozenset()
    return frozenset(policies.get(access, (access,)))


def policy_problems(policies: Policies) -> list[Problem]:
    """Policies that ask for nothing, for letters instead of names, or have a name that means something else."""
    wrong = [(name, _wrong(name, permissions)) for name, permissions in policies.items()]
    return [Problem("wrong policy", name, message) for name, message in wrong if message]


def _wrong(name: str, permissions: Sequence[str]) -> str:
    if name in ("open", "authenticated"):
        return f"The access {name!r} has a meaning already; give the policy another name."
    if isinstance(permissions, str):
        return f"The permissions of a policy are a list: [{permissions!r}]."
    return "" if permissions else 'It asks for no permission; name some, or use access="authenticated".'
