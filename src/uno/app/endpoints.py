"""Endpoints are data, derived from the names of messages without a web framework.

CreateUser   POST   /users            201        GetUser      GET    /users/{user_id}
ListUsers    GET    /users                       UpdateUser   PUT    /users/{user_id}
SearchUsers  POST   /users/search                DeleteUser   DELETE /users/{user_id}  204
SuspendUser  POST   /users/{user_id}/suspend     (without a user_id field: POST /users/suspend)
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from uno.errors import Problem
from uno.messages import Message
from uno.modules import Access, Route

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")
_SUFFIXES = ("command", "query")
# What the rules of `plural` would get wrong.
_PLURALS = {"person": "people", "child": "children", "man": "men", "woman": "women", "datum": "data", "news": "news"}
_METHODS = {"create": "POST", "get": "GET", "list": "GET", "update": "PUT", "delete": "DELETE", "search": "POST"}
_STATUS = {"create": 201, "delete": 204}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation: `path` has its `{fields}`, `name` is the stable operation id."""

    method: str
    path: str
    message: type[Message]
    status: int
    access: Access
    name: str
    tags: tuple[str, ...] = ()
    summary: str | None = None

    @property
    def shape(self) -> str:
        """The path without the names of its parameters: equal shapes clash."""
        return re.sub(r"\{[^}]*\}", "{}", self.path)

    @property
    def path_fields(self) -> tuple[str, ...]:
        return tuple(re.findall(r"\{([^}:]*)", self.path))


def plural(noun: str) -> str:
    """The plural of an English noun, by rule; a noun that is plural already stays."""
    if noun in _PLURALS or noun in _PLURALS.values():
        return _PLURALS.get(noun, noun)
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    if re.search(r"[^aeiou]is$", noun):
        return noun[:-2] + "es"
    if re.search(r"(ss|x|z|ch|sh|us)$", noun):
        return noun + "es"
    return noun if noun.endswith("s") else noun + "s"


def _split(message: type[Message]) -> tuple[str, list[str]]:
    """The verb and the nouns in the name of a message; of one word the verb only."""
    words = [word.lower() for word in _WORDS.findall(message.__name__)]
    if len(words) > 2 and words[-1] in _SUFFIXES:
        words.pop()
    return words[0], words[1:]


def _derived_path(message: type[Message], verb: str, nouns: list[str]) -> str:
    if not nouns:
        return f"/{verb}"
    # Who lists says the plural already: by rule, menus would be taken for another status.
    plain = verb in ("list", "search") and re.search(r"[^s]s$", nouns[-1])
    collection = "/" + ("-".join(nouns) if plain else _collection(nouns))
    if verb in ("create", "list"):
        return collection
    if verb == "search":
        return f"{collection}/search"
    own = _own_id(message, _collection(nouns))
    item = f"{collection}/{{{own}}}" if own else collection
    return item if verb in _METHODS else f"{item}/{verb}"


def _collection(nouns: list[str]) -> str:
    return "-".join([*nouns[:-1], plural(nouns[-1])])


def _own_id(message: type[Message], collection: str) -> str | None:
    """The field with the id of one thing in the collection: user_id for users, or plain id."""
    stems = {f: f.removesuffix("_id").split("_") for f in message.model_fields if f.endswith("_id")}
    named = (field for field, stem in stems.items() if _collection(stem) == collection)
    return next(named, "id" if "id" in message.model_fields else None)


def endpoint(route: Route, module: str, default_access: Access = "open") -> Endpoint:
    """The endpoint of a route: what it says, and the rest derived from the message's name."""
    message = route.message
    verb, nouns = _split(message)
    return Endpoint(
        method=(route.method or _METHODS.get(verb, "POST")).upper(),
        path=route.path or _derived_path(message, verb, nouns),
        message=message,
        status=route.status or _STATUS.get(verb, 200),
        access=route.access or default_access,
        name=message.__name__,
        tags=tuple(route.tags) or (module,),
        summary=route.summary,
    )


def endpoint_problems(endpoints: Sequence[Endpoint]) -> list[Problem]:
    """Clashing paths, path parameters without a field, access that nobody can check."""
    return [*_clashes(endpoints), *_unknown_fields(endpoints), *_unguarded(endpoints)]


def _clashes(endpoints: Iterable[Endpoint]) -> list[Problem]:
    groups: defaultdict[tuple[str, str], list[Endpoint]] = defaultdict(list)
    for one in endpoints:
        groups[one.method, one.shape].append(one)
    return [
        Problem(
            "route clash",
            f"{method} {found[0].path}",
            f"{' and '.join(e.message.__qualname__ for e in found)} have the same path; give one a path= of its own.",
        )
        for (method, _), found in groups.items()
        if len(found) > 1
    ]


def _unknown_fields(endpoints: Iterable[Endpoint]) -> list[Problem]:
    return [
        Problem(
            "unknown path field",
            f"{e.method} {e.path}",
            f"{e.message.__qualname__} has no field {field!r}; add it or change the path.",
        )
        for e in endpoints
        for field in e.path_fields
        if field not in e.message.model_fields
    ]


def _unguarded(endpoints: Iterable[Endpoint]) -> list[Problem]:
    return [
        Problem(
            "unchecked access",
            f"{e.method} {e.path}",
            f"{e.message.__qualname__} asks for access {e.access!r} but nothing here can authenticate; "
            'use access="open".',
        )
        for e in endpoints
        if e.access != "open"
    ]
