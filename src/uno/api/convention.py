"""Where an event is found over HTTP, unless it says so itself."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from uno.app.endpoints import derive
from uno.modules.event import Event
from uno.modules.fields import field_names

# What is about one thing, whether or not its input has a field for the id.
_OF_ONE = frozenset({"get", "update", "delete"})


class HTTPMethod(StrEnum):
    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


@dataclass
class RouteInfo:
    """Method and path of an event; `requires_id` where the path has the placeholder `id_param_name`."""

    path: str
    method: HTTPMethod
    tags: list[str] = field(default_factory=list)
    summary: str = ""
    deprecated: bool = False
    requires_id: bool = False
    id_param_name: str = "id"


class RouteConvention(ABC):
    """Subclass it for paths of your own."""

    @abstractmethod
    def get_route(self, event_class: type[Event[Any, Any]]) -> RouteInfo:
        """Where the events of this class are found."""


class RESTConvention(RouteConvention):
    """The paths of `uno.app.endpoints`, from `name = "users.create"` or from the name of the class.

    `custom_plurals` goes before the rules of English: `{"person": "persons"}`. `path_prefix` stands
    before every path.
    """

    def __init__(self, custom_plurals: Mapping[str, str] | None = None, path_prefix: str = "") -> None:
        self.custom_plurals = dict(custom_plurals or {})
        self.path_prefix = path_prefix.rstrip("/")

    def get_route(self, event_class: type[Event[Any, Any]]) -> RouteInfo:
        fields = field_names(event_class)
        found = derive(event_class, fields, self.custom_plurals)
        if found.verb in _OF_ONE and "{" not in found.path:
            found = derive(event_class, (*fields, "id"), self.custom_plurals)
        placeholder = found.path.partition("{")[2].partition("}")[0]
        return RouteInfo(
            path=self.path_prefix + found.path,
            method=HTTPMethod(found.method),
            tags=[found.collection or found.verb],
            requires_id=bool(placeholder),
            id_param_name=placeholder or "id",
        )
