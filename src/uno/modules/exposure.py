"""What an event says of itself to HTTP; `uno.api` has these names for users."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from uno.errors import Misconfigured
from uno.modules.route import names

E = TypeVar("E", bound=type)

# In the class itself: what a parent says does not count for its children.
_SAID, _EXCLUDED = "__uno_endpoint__", "__uno_not_an_endpoint__"


def api_endpoint(
    bare: None = None,
    /,
    *,
    path: str | None = None,
    method: str | None = None,
    tags: Sequence[str] | None = None,
    summary: str | None = None,
    description: str | None = None,
    deprecated: bool = False,
    include_in_schema: bool = True,
    required_permissions: Sequence[str] | None = None,
    public: bool = False,
    response_model_exclude_none: bool = True,
) -> Callable[[E], E]:
    """Mark an event that has an endpoint; what is not said is derived from its name.

    `path` has `{fields}` of the input. `required_permissions`: one of them is enough. `public=True` opens it
    to everybody where authentication is configured. `include_in_schema=False` gives it no endpoint at all.
    """
    if bare is not None:
        raise Misconfigured("@api_endpoint is called: write @api_endpoint() above the class.")
    said = {
        "path": path,
        "method": None if method is None else str(getattr(method, "value", method)).upper(),
        "tags": None if tags is None else list(names("tags of @api_endpoint", tags)),
        "summary": summary,
        "description": description,
        "deprecated": deprecated,
        "include_in_schema": include_in_schema,
        "required_permissions": list(
            names("required_permissions of @api_endpoint", () if required_permissions is None else required_permissions)
        ),
        "public": public,
        "response_model_exclude_none": response_model_exclude_none,
    }

    def mark(event: E) -> E:
        setattr(event, _SAID, said)
        return event

    return mark


def get_api_metadata(event: type) -> dict[str, Any]:
    """What `@api_endpoint` was given; empty where it is not there."""
    return dict(vars(event).get(_SAID, {}))


def exclude_from_api(event: E) -> E:
    """Mark an event that never has an endpoint."""
    setattr(event, _EXCLUDED, True)
    return event


def is_excluded_from_api(event: type) -> bool:
    """Whether it is marked `@exclude_from_api`."""
    return _EXCLUDED in vars(event)


def is_exposed(event: type) -> bool:
    """Whether it is marked `@api_endpoint` and nothing keeps it out."""
    said = get_api_metadata(event)
    return bool(said) and said["include_in_schema"] and not is_excluded_from_api(event)
