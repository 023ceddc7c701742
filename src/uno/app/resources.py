"""A resource: the stored objects of one class over HTTP, as messages like any others.

    Module("shop", routes=[resource(Order, access="open")])

Each operation is a message made of the class (`ListOrders`, `CreateOrder`, …) with its handler and its endpoint,
so that context, access, transaction, retry, hooks and audit are those of every message.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

from uno.app.around import takes
from uno.app.endpoints import Endpoint, collection_of
from uno.app.inclusions import check_beside, inclusion, shown_schemas
from uno.app.representation import Encoders, encoders
from uno.app.resource_handlers import handler_of
from uno.app.resource_messages import message_of
from uno.data import Repository
from uno.data.direct import OneRow
from uno.data.document import DocumentPlan
from uno.data.filters import Limits
from uno.data.plan import MappedPlan
from uno.data.related import Related
from uno.data.schemas import Schemas, schemas_of
from uno.data.traits import Plan
from uno.errors import Misconfigured
from uno.modules.route import Access, Bundle, Route, names

PerOperation: TypeAlias = Mapping[str, Any]
# Method, path below that of the collection, status of success.
OPERATIONS: Final[Mapping[str, tuple[str, str, int]]] = {
    "list": ("GET", "", 200),
    "create": ("POST", "", 201),
    "get": ("GET", "/{id}", 200),
    "replace": ("PUT", "/{id}", 200),
    "merge": ("PATCH", "/{id}", 200),
    "delete": ("DELETE", "/{id}", 204),
    "restore": ("POST", "/{id}/restore", 200),
    "history": ("GET", "/{id}/history", 200),
    "bulk_create": ("POST", "/bulk", 201),
    "bulk_delete": ("POST", "/bulk/delete", 204),
}
# What a repository may do in a way of its own, which then is the only one.
_READING: Final = ("get", "get_by_id", "find", "page", "count")
_CHANGING: Final = ("add", "save", "get", "get_by_id", "get_for_update")
_USUAL_LIMIT: Final = 100
_USUAL: Final = frozenset(OPERATIONS) - {"bulk_create", "bulk_delete"}


@dataclass(frozen=True, eq=False)
class Resource(Bundle):
    """What `resource` makes. It is worked out when an application asks, so that all classes are mapped by then."""

    cls: type[Any]
    repository: Repository[Any]
    wanted: tuple[str, ...] | None = None
    prefix: str | None = None
    tags: Sequence[str] = ()
    access: Access | PerOperation | None = None
    permissions: Sequence[str] | PerOperation = ()
    hidden: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    filters: tuple[str, ...] | None = None
    sorts: tuple[str, ...] | None = None
    limit: int = _USUAL_LIMIT
    max_limit: int = 1_000
    max_bulk: int = 1_000
    limits: Limits = field(default_factory=Limits)
    require_if_match: bool = False
    serialise: Callable[[Any], Any] | type[BaseModel] | None = None
    includable: tuple[str, ...] = ()
    # All resources of the application that this one is `among`, itself too: what one hides of a class no other shows.
    known: Sequence["Resource"] = field(default=(), init=False, repr=False)
    # By relationship what is shown of it, once it was asked for.
    beside: dict[str, Related] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def schemas(self) -> Schemas:
        return schemas_of(self.cls, hidden=self.hidden, read_only=self.read_only)

    @property
    def plan(self) -> Plan:
        return self.schemas.plan

    @cached_property
    def path(self) -> str:
        return f"/{collection_of(self.cls)}" if self.prefix is None else self.prefix.rstrip("/")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What can be seen."""
        return tuple(one.name for one in self.schemas.visible)

    @cached_property
    def encoders(self) -> Encoders:
        return encoders(self.plan, self.names)

    @cached_property
    def in_sql(self) -> bool:
        """Whether Python has no part in how they are read and shown."""
        return self.serialise is None and isinstance(self.plan, MappedPlan) and self.usual(*_READING)

    @cached_property
    def in_one_statement(self) -> OneRow | None:
        """What writes and shows one of them at once on PostgreSQL; None where Python has a part in it."""
        plan = self.plan
        if self.serialise is not None or not isinstance(plan, MappedPlan) or not self.usual(*_CHANGING):
            return None
        found = OneRow(plan, self.names)
        return found if found.possible else None

    def usual(self, *methods: str) -> bool:
        """Whether the repository does it as any other, so that it need not be asked."""
        held, kind = vars(self.repository), type(self.repository)
        return all(getattr(kind, one) is getattr(Repository, one) and one not in held for one in methods)

    @cached_property
    def filterable(self) -> frozenset[str]:
        return frozenset(self._allowed("filterable", self.filters))

    @cached_property
    def sortable(self) -> frozenset[str]:
        return frozenset(self._allowed("sortable", self.sorts))

    def related(self, names: Sequence[str]) -> tuple[Related, ...]:
        """What is shown of the objects of these relationships, all `includable`; the same in whatever order."""
        for name in names:
            if name not in self.beside:
                self.beside[name] = inclusion(self, name)
        return tuple(self.beside[name] for name in sorted(names))

    @cached_property
    def operations(self) -> tuple[str, ...]:
        deletes_softly = self.plan.deleted_name is not None
        if self.wanted is not None:
            if "restore" in self.wanted and not deletes_softly:
                raise Misconfigured(f"{self.cls.__name__} has no deleted_at, so nothing can be restored; leave it out.")
            if self.require_if_match and "bulk_delete" in self.wanted:
                name = self.cls.__name__
                raise Misconfigured(f"bulk_delete of {name} knows no conditions; leave it or require_if_match= out.")
            return self.wanted
        usual = _USUAL if self.schemas.writable else _USUAL - {"replace", "merge"}
        return tuple(one for one in OPERATIONS if one in usual and (one != "restore" or deletes_softly))

    @cached_property
    def messages(self) -> Mapping[str, type[Any]]:
        """The message of each operation, for `bus.dispatch`."""
        made = {operation: message_of(operation, self) for operation in self.operations}
        self.check_names()
        self._check_repository()
        for operation, message in made.items():
            message.__uno_action__ = Action(operation, self)
        return made

    @property
    def routes(self) -> Sequence[Route]:
        return [self._route(operation, message) for operation, message in self.messages.items()]

    @property
    def handlers(self) -> Sequence[Any]:
        return self._handlers

    @cached_property
    def _handlers(self) -> Sequence[Any]:
        return [handler_of(operation, message, self) for operation, message in self.messages.items()]

    @property
    def models(self) -> Sequence[type]:
        return [self.cls]

    def among(self, known: Sequence["Resource"]) -> "Resource":
        """The same for one application: messages and schemas are shared, what it knows of others is its own."""
        assert self.messages
        made = copy(self)
        vars(made).update(known=known, beside={})
        vars(made).pop("_handlers", None)
        return made

    def meet(self, others: Iterable["Resource"]) -> None:
        """Know of these as well, which are in the same application."""
        vars(self).update(known=list(dict.fromkeys([*self.known, *others])), beside={})
        self.check_names()

    def _route(self, operation: str, message: type[Any]) -> Route:
        method, below, status = OPERATIONS[operation]
        return Route(
            message,
            method,
            self.path + below,
            status,
            access=_said(operation, self.access, None),
            tags=self.tags,
            permissions=tuple(_said(operation, self.permissions, ())),
        )

    def _allowed(self, what: str, given: tuple[str, ...] | None) -> Collection[str]:
        """The names that are given, or all that can be seen. Raises `Misconfigured`."""
        if given is None:
            return self.names
        wrong = next((one for one in given if one not in self.names and not self._is_inside(one)), None)
        if wrong is not None:
            raise Misconfigured(f"{what}={wrong!r}: {self.cls.__name__} has no such attribute that can be seen.")
        return given

    def check_names(self) -> None:
        """Names that nobody knows are found when the application is put together, not by the first request."""
        for what, given in (("filterable", self.filters), ("sortable", self.sorts)):
            self._allowed(what, given)
        check_beside(self)

    def _check_repository(self) -> None:
        if "list" in self.operations and self.usual("page") and not self.usual("find"):
            name = type(self.repository).__name__
            raise Misconfigured(f"{name} has a find of its own, but a list asks page and count; override those, too.")

    def _is_inside(self, name: str) -> bool:
        """Whether it is a place in JSON, or an attribute of a related object that can be seen."""
        head, _, rest = name.partition(".")
        if head in self.names or not rest or isinstance(self.plan, DocumentPlan):
            return bool(rest) and head in self.names
        return head in self.plan.mapper.relationships and rest in (t.name for t in shown_schemas(self, head).visible)


@dataclass(frozen=True)
class Action:
    """What a message of a resource does."""

    operation: str
    resource: Resource


def introduced(endpoints: Iterable[Endpoint]) -> tuple[list[Endpoint], Callable[[Any], Any]]:
    """Those of one application, with resources of its own that know of each other, and what finds its own handlers.

    Raises `Misconfigured`.
    """
    found, known = list(endpoints), list[Resource]()
    shared = dict.fromkeys(one.action.resource for one in found if one.action is not None)
    own = {one: one.among(known) for one in shared}
    known += own.values()
    for one in known:
        # What another hides of its class is known only now.
        one.check_names()
    pairs = (pair for one in shared for pair in zip(one.handlers, own[one].handlers, strict=True))
    handlers = {id(old): new for old, new in pairs}
    return [_with_own(one, own) for one in found], lambda handler: handlers.get(id(handler), handler)


def _with_own(endpoint: Endpoint, own: Mapping[Resource, Resource]) -> Endpoint:
    action = endpoint.action
    return endpoint if action is None else replace(endpoint, action=replace(action, resource=own[action.resource]))


def resource(
    source: Any,
    *,
    operations: Sequence[str] | None = None,
    prefix: str | None = None,
    tags: Sequence[str] = (),
    access: Access | PerOperation | None = None,
    permissions: Sequence[str] | PerOperation = (),
    hidden: Sequence[str] = (),
    read_only: Sequence[str] = (),
    filterable: Sequence[str] | None = None,
    sortable: Sequence[str] | None = None,
    includable: Sequence[str] = (),
    limit: int | None = None,
    max_limit: int = 1_000,
    max_bulk: int = 1_000,
    limits: Limits | None = None,
    require_if_match: bool = False,
    serialise: Callable[[Any], Any] | type[BaseModel] | None = None,
) -> Resource:
    """The stored objects of a class over HTTP; put it into the `routes` of a module.

    `source` is a `Model`, a mapped class, an aggregate, or a repository of one. `operations` are names in
    `OPERATIONS`: by default all but the bulk ones, `restore` where there is a `deleted_at`. `access` and
    `permissions` (one is enough) are for all operations, or by operation: `{"list": "open"}`.

    `hidden` and `read_only` name attributes beside those that are marked in the model; `filterable` and `sortable`
    those that may be asked for: by default all that can be seen; `includable` names relationships, by default none,
    whose objects a client may have as well. A list has `limit` objects (100), at most `max_limit`;
    `limits` is what a filter and what is included may cost, `max_bulk` how many objects one bulk operation takes. With
    `require_if_match` nothing is changed without that header. `serialise` makes of an object what
    `json.dumps` or pydantic takes; or it is a pydantic model. Raises `Misconfigured`.
    """
    repository = _repository(source)
    cls = repository.entity
    wanted = names("operations of a resource", operations or ())
    for said in (wanted, *(one for one in (access, permissions) if isinstance(one, Mapping))):
        _refuse_unknown(cls, said or ())
    for of_one in permissions.values() if isinstance(permissions, Mapping) else [permissions]:
        names("permissions of a resource", () if of_one is None else of_one)
    if serialise is not None and not _shows(serialise):
        raise Misconfigured(
            f"serialise of a resource of {cls.__name__} is a function of the object, or a pydantic model, not "
            f"{serialise!r}."
        )
    limit = min(_USUAL_LIMIT, max_limit) if limit is None else limit
    if not 1 <= limit <= max_limit:
        raise Misconfigured(f"limit={limit} of a resource has to be between 1 and max_limit={max_limit}.")
    return Resource(
        cls,
        repository,
        None if operations is None else tuple(dict.fromkeys(wanted)),
        prefix,
        tags,
        access,
        permissions,
        names("hidden of a resource", hidden),
        names("read_only of a resource", read_only),
        None if filterable is None else names("filterable of a resource", filterable),
        None if sortable is None else names("sortable of a resource", sortable),
        limit,
        max_limit,
        max_bulk,
        limits or Limits(),
        require_if_match,
        serialise,
        tuple(dict.fromkeys(names("includable of a resource", includable))),
    )


def _shows(given: Any) -> bool:
    return (isinstance(given, type) and issubclass(given, BaseModel)) or takes(given, 1)


def _repository(source: Any) -> Repository[Any]:
    if isinstance(source, Repository):
        return source
    if not inspect.isclass(source):
        raise Misconfigured(f"resource() takes a class or a repository, not {source!r}.")
    return source() if issubclass(source, Repository) else Repository(source)


def _refuse_unknown(cls: type, names: Collection[str]) -> None:
    wrong = next((one for one in names if one not in OPERATIONS), None)
    if wrong is not None:
        known = ", ".join(OPERATIONS)
        raise Misconfigured(f"{wrong!r} is no operation of a resource of {cls.__name__}; there are {known}.")


def _said(operation: str, given: Any, otherwise: Any) -> Any:
    found = given.get(operation, otherwise) if isinstance(given, Mapping) else given
    return otherwise if found is None else found
