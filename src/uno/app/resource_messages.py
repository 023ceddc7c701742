"""The messages of a resource, made of its class."""

from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PrivateAttr, create_model

from uno.app.endpoints import several
from uno.app.inclusions import Joined
from uno.data.filters import Filter
from uno.data.paging import Page
from uno.data.rendered import Row, Rows
from uno.messages import Command, Message, Query, R

if TYPE_CHECKING:
    from uno.app.resources import Resource


def _is_json(message: Any) -> bool:
    """Whether its answer may be the JSON that the database makes of what is stored."""
    try:
        return message._as_json  # type: ignore[no-any-return]
    except AttributeError:
        return False


def _say_json(message: Any) -> None:
    """Say that nobody needs the objects."""
    object.__setattr__(message, "_as_json", True)


class Creating(Command[R]):
    """Something new. Who asks in Python gets objects."""

    # A slot, not a private attribute: pydantic takes 6 µs for one. A copy has not got it, and is answered with objects.
    __slots__ = ("_as_json",)
    as_json = property(_is_json)
    answered_as_json = _say_json


class Conditional(Command[R]):
    """A change that is made only if what is stored has one of these tags (RFC 9110, section 13.1.1)."""

    __slots__ = ("_as_json",)
    as_json = property(_is_json)
    answered_as_json = _say_json
    # Not a field: it is no part of what is asked, and never comes out of a body.
    _if_match: tuple[str, ...] | None = PrivateAttr(default=None)

    @property
    def expected(self) -> tuple[str, ...] | None:
        """The tags, `("*",)` for any; None where nobody asked."""
        private: Any = self.__pydantic_private__
        found: tuple[str, ...] | None = private["_if_match"]
        return found

    def only_if(self, tags: tuple[str, ...] | None) -> None:
        """Say which tags what is stored has to have."""
        self._if_match = tags


class Reading(Query[R]):
    """A question whose answer may be the JSON that the database makes of what is stored."""

    __slots__ = ("_as_json",)
    as_json = property(_is_json)
    answered_as_json = _say_json


_NAMES = {
    "list": "List{1}",
    "create": "Create{0}",
    "get": "Get{0}",
    "replace": "Replace{0}",
    "merge": "Merge{0}",
    "delete": "Delete{0}",
    "restore": "Restore{0}",
    "history": "Get{0}History",
    "bulk_create": "BulkCreate{1}",
    "bulk_delete": "BulkDelete{1}",
}
_DOCS = {
    "list": "Those that fit, sorted, a page at a time.",
    "create": "Store a new one.",
    "get": "The one with this id.",
    "replace": "Give all that can be changed new values; what is left out has its default again.",
    "merge": "Give some of it new values, the rest stays (RFC 7396).",
    "delete": "Delete it.",
    "restore": "Take a deletion back.",
    "history": "What was done to it, and by whom.",
    "bulk_create": "Store several new ones, all or none.",
    "bulk_delete": "Delete several, all or none.",
}


def message_of(operation: str, resource: "Resource") -> type[Any]:
    """The message of one operation. Raises `Misconfigured` where its schema cannot be."""
    cls: Any = resource.cls
    schemas: Any = resource.schemas
    id: Any = {"id": (id_type(resource), ...)}
    changes = {"create": "create", "replace": "replace", "merge": "merge"}
    if operation == "list":
        return _message(operation, resource, Reading[Page[Any] | Rows], _listed(resource))
    if operation == "get":
        return _message(operation, resource, Reading[cls | Row | Joined], {**id, **_ASKED})
    if operation == "history":
        return _message(operation, resource, Query[Page[Any]], {**id, **_stretch(resource)})
    if operation in changes:
        values: Any = {"values": (getattr(schemas, changes[operation]), ...)}
        own = {} if operation == "create" else id
        promised: Any = cls | Row if resource.in_one_statement is not None else cls
        return _message(
            operation, resource, (Creating if operation == "create" else Conditional)[promised], own | values
        )
    if operation == "bulk_create":
        return _message(operation, resource, Command[list[Any]], {"items": (_many(schemas.create, resource), ...)})
    if operation == "bulk_delete":
        return _message(operation, resource, Command[None], {"ids": (_many(id_type(resource), resource), ...)})
    promised = cls if operation == "restore" else None
    return _message(operation, resource, Conditional[promised], id)


# Who asks in Python may include any relationship.
_ASKED: Any = {"fields": (tuple[str, ...], ()), "include": (tuple[str, ...], ())}


def _many(one: Any, resource: "Resource") -> Any:
    several: Any = GenericAlias(list, (one,))
    return Annotated[several, Field(min_length=1, max_length=resource.max_bulk)]


def id_type(resource: "Resource") -> Any:
    """The type of its id; of a composite one a tuple."""
    parts: Any = tuple(one.type for one in resource.schemas.key)
    return parts[0] if len(parts) == 1 else tuple[parts]


def _listed(resource: "Resource") -> dict[str, Any]:
    return {
        "filter": (Any, Filter()),
        "sort": (str, ""),
        **_ASKED,
        **_stretch(resource),
        "offset": (Annotated[int, Field(ge=0)], 0),
        "total": (bool, False),
    }


def _stretch(resource: "Resource") -> dict[str, Any]:
    most = resource.max_limit
    return {"limit": (Annotated[int, Field(ge=1, le=most)], resource.limit), "after": (str | None, None)}


def _message(operation: str, resource: "Resource", base: Any, fields: dict[str, Any]) -> type[Message]:
    cls = resource.cls
    name = _NAMES[operation].format(cls.__name__, several(cls))
    made: type[Message] = create_model(
        name,
        __base__=(base,),
        __module__=cls.__module__,
        __doc__=_DOCS[operation],
        __cls_kwargs__={"val_json_bytes": "base64"},
        **fields,
    )
    # A hand-written CreateOrder may stand beside it.
    made.__uno_name__ = f"{cls.__module__}.{cls.__qualname__}.{operation}"
    return made
