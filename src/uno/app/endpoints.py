"""Endpoints are data, derived from the names of messages without a web framework.

CreateUser   POST   /users            201        GetUser      GET    /users/{user_id}
ListUsers    GET    /users                       UpdateUser   PUT    /users/{user_id}
SearchUsers  POST   /users/search                DeleteUser   DELETE /users/{user_id}  204
SuspendUser  POST   /users/{user_id}/suspend     (without a user_id field: POST /users/suspend)

An event called "users.create" is read like CreateUser, and "users.bulk_create" is POST /users/bulk.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Optional

from uno.errors import Problem
from uno.modules.event import is_event
from uno.modules.exposure import get_api_metadata
from uno.modules.fields import field_names, gives_nothing
from uno.modules.route import Access, Route

if TYPE_CHECKING:
    from uno.app.resources import Action

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")
_SUFFIXES = ("command", "query", "event")
# What the rules of `plural` would get wrong: chief and golf, photo and logo keep f and o.
_IRREGULAR = """
person/people child/children man/men woman/women mouse/mice goose/geese foot/feet tooth/teeth
datum/data news/news sheep/sheep deer/deer leaf/leaves loaf/loaves thief/thieves half/halves
calf/calves self/selves shelf/shelves wolf/wolves life/lives wife/wives knife/knives
hero/heroes echo/echoes potato/potatoes tomato/tomatoes veto/vetoes
"""
_PLURALS: dict[str, str] = dict(re.findall(r"(\w+)/(\w+)", _IRREGULAR))
_METHODS = {"create": "POST", "get": "GET", "list": "GET", "update": "PUT", "delete": "DELETE", "search": "POST"}
# Those that have an endpoint.
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_SUCCESSES = range(200, 300)
_STATUS = {"create": 201, "delete": 204}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation: `path` has its `{fields}`, `name` is the stable operation id."""

    method: str
    path: str
    message: type[Any]
    status: int
    access: Access
    name: str
    tags: tuple[str, ...] = ()
    summary: str | None = None
    description: str | None = None
    deprecated: bool = False
    exclude_none: bool = False
    # One of them is enough.
    permissions: tuple[str, ...] = ()
    # What the message does, if it is one of a resource.
    action: Optional["Action"] = field(default=None, repr=False, compare=False)

    @property
    def shape(self) -> str:
        """The path without the names of its parameters: equal shapes clash."""
        return shape(self.path)

    @property
    def path_fields(self) -> tuple[str, ...]:
        return tuple(re.findall(r"\{([^}:]*)", self.path))


@dataclass(frozen=True, slots=True)
class Derived:
    """What the name of a message says: `verb` is what is done, `collection` to what, as it stands in a path."""

    verb: str
    collection: str
    method: str
    path: str


def shape(path: str) -> str:
    """The path without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def plural(noun: str, own: Mapping[str, str] | None = None) -> str:
    """The plural of an English noun, by `own` or by rule; a noun that is plural already stays."""
    known = {**_PLURALS, **own} if own else _PLURALS
    if noun in known or noun in known.values():
        return known.get(noun, noun)
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    if re.search(r"[^aeiou]is$", noun):
        return noun[:-2] + "es"
    if noun.endswith("iz"):
        return noun + "zes"
    if re.search(r"(ss|x|z|ch|sh|us)$", noun):
        return noun + "es"
    return noun if noun.endswith("s") else noun + "s"


def derive(message: type, fields: Collection[str], plurals: Mapping[str, str] | None = None) -> Derived:
    """Method and path from the name of a message or event; `fields` are those that could be in the path."""
    said = _said(message)
    verb, nouns = said or _split(message)
    bulk = verb.startswith("bulk-")
    verb = verb.removeprefix("bulk-")
    if not nouns:
        return Derived(verb, "", _METHODS.get(verb, "POST"), f"/{verb}")
    # A class that lists says the plural already: by rule, ListMenus would be taken for another ListStatus.
    plain = said is None and verb in ("list", "search") and re.search(r"[^s]s$", nouns[-1])
    collection = "-".join(nouns) if plain else _collection(nouns, plurals)
    own = None if bulk else _own_id(fields, collection, plurals)
    return Derived(verb, collection, _METHODS.get(verb, "POST"), f"/{collection}{_below(verb, own, bulk=bulk)}")


def _below(verb: str, own: str | None, *, bulk: bool) -> str:
    """The path below that of the collection; `own` is the field with the id of one thing in it."""
    if bulk:
        return "/bulk" if verb in _METHODS else f"/bulk/{verb}"
    if verb in ("create", "list"):
        return ""
    if verb == "search":
        return "/search"
    item = f"/{{{own}}}" if own else ""
    return item if verb in _METHODS else f"{item}/{verb}"


def _said(message: Any) -> tuple[str, list[str]] | None:
    """The verb and the nouns of an event called "users.create"."""
    if not is_event(message) or "." not in message.name:
        return None
    noun, verb = message.name.split(".")[-2:]
    return "-".join(_words(verb)), _words(noun)


def _split(message: type) -> tuple[str, list[str]]:
    """The verb and the nouns in the name of a class; of one word the verb only."""
    words = _words(message.__name__)
    # CreateCommand makes a command, but GreetEvent is no event called event.
    if words[-1] in _SUFFIXES and len(words) > (1 if _is_event_name(message, words) else 2):
        words.pop()
    if words[0] == "bulk" and len(words) > 2:
        return f"bulk-{words[1]}", words[2:]
    return words[0], words[1:]


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)] or [name]


def _is_event_name(message: type, words: Sequence[str]) -> bool:
    return is_event(message) and words[-1] == "event" and words[0] not in _METHODS


def collection_of(cls: type, plurals: Mapping[str, str] | None = None) -> str:
    """What the objects of a class are called in a path: `order-lines` of OrderLine."""
    return _collection(_words(cls.__name__), plurals)


def several(cls: type) -> str:
    """The name of a class in the plural: `Categories` of Category."""
    last = (_WORDS.findall(cls.__name__) or [cls.__name__])[-1]
    return cls.__name__.removesuffix(last) + plural(last.lower()).capitalize()


def _collection(nouns: Sequence[str], plurals: Mapping[str, str] | None = None) -> str:
    return "-".join([*nouns[:-1], plural(nouns[-1], plurals)])


def _own_id(fields: Collection[str], collection: str, plurals: Mapping[str, str] | None) -> str | None:
    """The field with the id of one thing in the collection: user_id for users, or plain id."""
    stems = {f: f.removesuffix("_id").split("_") for f in fields if f.endswith("_id")}
    named = (field for field, stem in stems.items() if _collection(stem, plurals) == collection)
    return next(named, "id" if "id" in fields else None)


def endpoint(
    route: Route,
    module: str,
    default_access: Access = "open",
    *,
    usual: Route | None = None,
) -> Endpoint:
    """The endpoint of a route: what it says, what `@api_endpoint` says, what is `usual`, and the rest by its name.

    `usual` is what a convention says. `default_access` is for what says nothing and is not `public`;
    permissions are asked for in any case.
    """
    message: Any = route.message
    usual = usual or Route(message)
    said = get_api_metadata(message)
    derived = derive(message, field_names(message))
    return Endpoint(
        method=(route.method or said.get("method") or usual.method or derived.method).upper(),
        path=route.path or said.get("path") or usual.path or derived.path,
        message=message,
        status=route.status or success_status(message, derived.verb),
        access=route.access or ("open" if said.get("public") else default_access),
        name=message.__name__,
        tags=tuple(route.tags or said.get("tags") or usual.tags or ((module,) if module else ())),
        summary=route.summary or said.get("summary") or usual.summary or None,
        description=said.get("description"),
        deprecated=said.get("deprecated", False),
        exclude_none=said.get("response_model_exclude_none", False),
        permissions=tuple(route.permissions or said.get("required_permissions", ())),
        action=getattr(message, "__uno_action__", None),
    )


def success_status(message: type, verb: str) -> int:
    """201 for what creates; 204 for what deletes, but for an event that gives something back."""
    if verb == "delete" and is_event(message) and not gives_nothing(message):
        return 200
    return _STATUS.get(verb, 200)


def endpoint_problems(endpoints: Sequence[Endpoint], *, authenticates: bool = False) -> list[Problem]:
    """Clashing paths, path parameters without a field, methods that HTTP lacks, access that nobody can check."""
    unguarded = [] if authenticates else _unguarded(endpoints)
    odd = [*unknown_fields(endpoints), *unknown_methods(endpoints), *_unknown_statuses(endpoints)]
    return [*clashes(endpoints), *odd, *unguarded]


def clashes(endpoints: Iterable[Endpoint]) -> list[Problem]:
    """Two on one path, whatever their parameters are called."""
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


def unknown_methods(endpoints: Iterable[Endpoint]) -> list[Problem]:
    """Methods with which no endpoint is called."""
    known = ", ".join(METHODS)
    return [
        _wrong("unknown method", e, f"has the method {e.method}; make it one of {known}.")
        for e in endpoints
        if e.method not in METHODS
    ]


def _unknown_statuses(endpoints: Iterable[Endpoint]) -> list[Problem]:
    return [
        _wrong("unknown status", e, f"has the status {e.status!r}; that of a success is a number from 200 to 299.")
        for e in endpoints
        if type(e.status) not in (int, HTTPStatus) or e.status not in _SUCCESSES
    ]


def unknown_fields(endpoints: Iterable[Endpoint]) -> list[Problem]:
    """Parameters in a path that the message has no field for."""
    return [
        _wrong("unknown path field", e, f"has no field {field!r}; add it or change the path.")
        for e in endpoints
        for field in e.path_fields
        if field not in field_names(e.message)
    ]


def _unguarded(endpoints: Iterable[Endpoint]) -> list[Problem]:
    fix = 'but nothing here can authenticate; set App(auth=...), or use access="open".'
    return [
        _wrong("unchecked access", e, f"asks for {_asked(e)} {fix}")
        for e in endpoints
        if e.access != "open" or e.permissions
    ]


def _wrong(kind: str, endpoint: Endpoint, what: str) -> Problem:
    return Problem(kind, f"{endpoint.method} {endpoint.path}", f"{endpoint.message.__qualname__} {what}")


def _asked(endpoint: Endpoint) -> str:
    if endpoint.access == "open":
        return f"the permission {' or '.join(endpoint.permissions)}"
    return f"access {endpoint.access!r}"
