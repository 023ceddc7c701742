"""Where events are found: one derivation for messages and events."""

from dataclasses import make_dataclass
from typing import Any

import pytest
from pydantic import create_model

from uno.api import (
    HTTPMethod,
    RESTConvention,
    api_endpoint,
    exclude_from_api,
    get_api_metadata,
    is_excluded_from_api,
)
from uno.app.endpoints import Endpoint, endpoint, endpoint_problems
from uno.modules import Event, EventInput, EventOutput, Route


def event(class_name: str, *fields: str, name: str = "", output: Any = EventOutput) -> Any:
    made: Any = make_dataclass(f"{class_name}Input", [(one, str) for one in fields], bases=(EventInput,))
    return type(class_name, (Event,), {"name": name, "__orig_bases__": (Event[made, output],)})


def derived(found: Any) -> Endpoint:
    return endpoint(Route(found), "shop")


TABLE = [
    # by the class
    ("CreateUser", "", ["email"], "POST /users 201"),
    ("GetUser", "", ["user_id"], "GET /users/{user_id} 200"),
    ("ListUsers", "", ["page"], "GET /users 200"),
    ("UpdateUser", "", ["user_id"], "PUT /users/{user_id} 200"),
    ("DeleteUser", "", ["user_id"], "DELETE /users/{user_id} 204"),
    ("SearchUsers", "", ["text"], "POST /users/search 200"),
    ("ActivateUser", "", ["user_id"], "POST /users/{user_id}/activate 200"),
    ("CreateUserEvent", "", [], "POST /users 201"),
    ("GreetEvent", "", [], "POST /greet 200"),
    ("CreateEvent", "", [], "POST /events 201"),
    ("Event", "", [], "POST /event 200"),
    ("BulkCreateUsers", "", [], "POST /users/bulk 201"),
    ("BulkDeleteUsers", "", [], "DELETE /users/bulk 204"),
    ("BulkActivateUsers", "", [], "POST /users/bulk/activate 200"),
    # by the name
    ("A", "users.create", [], "POST /users 201"),
    ("A", "user.create", [], "POST /users 201"),
    ("A", "users.get", ["user_id"], "GET /users/{user_id} 200"),
    ("A", "users.get", ["id"], "GET /users/{id} 200"),
    ("A", "users.list", [], "GET /users 200"),
    ("A", "users.search", [], "POST /users/search 200"),
    ("A", "users.activate", ["user_id"], "POST /users/{user_id}/activate 200"),
    ("A", "users.mark_read", [], "POST /users/mark-read 200"),
    ("A", "users.bulk_update", [], "PUT /users/bulk 200"),
    ("A", "order_items.get", ["order_item_id"], "GET /order-items/{order_item_id} 200"),
    ("A", "shop.orders.create", [], "POST /orders 201"),
    ("A", "company.list", [], "GET /companies 200"),
    ("A", "status.list", [], "GET /statuses 200"),
    ("A", "myapp.greet", [], "POST /myapps/greet 200"),
    ("CreateUser", "track", [], "POST /users 201"),
]


@pytest.mark.parametrize(("class_name", "name", "fields", "expected"), TABLE)
def test_a_name_gives_method_path_and_status(class_name: str, name: str, fields: list[str], expected: str) -> None:
    found = derived(event(class_name, *fields, name=name))
    assert f"{found.method} {found.path} {found.status}" == expected
    assert endpoint_problems([found]) == []


@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("users.create", "POST", "/users"),
        ("users.get", "GET", "/users/{id}"),
        ("users.list", "GET", "/users"),
        ("users.update", "PUT", "/users/{id}"),
        ("users.delete", "DELETE", "/users/{id}"),
        ("users.search", "POST", "/users/search"),
        ("users.activate", "POST", "/users/activate"),
        ("users.bulk_delete", "DELETE", "/users/bulk"),
    ],
)
def test_the_convention_has_a_placeholder_for_one_thing_even_without_a_field(name: str, method: str, path: str) -> None:
    found = RESTConvention().get_route(event("A", "email", name=name))
    assert (found.method, found.path) == (method, path)
    assert (found.requires_id, found.id_param_name) == ("{" in path, "id")
    assert found.tags == ["users"]


def test_the_placeholder_is_the_field_of_the_input() -> None:
    found = RESTConvention().get_route(event("GetUser", "user_id"))
    assert (found.path, found.requires_id, found.id_param_name) == ("/users/{user_id}", True, "user_id")
    assert found.method is HTTPMethod.GET


def test_plurals_and_a_prefix_of_ones_own() -> None:
    convention = RESTConvention({"person": "persons"}, path_prefix="/v2/")
    assert convention.get_route(event("GetPerson", "person_id")).path == "/v2/persons/{person_id}"
    assert convention.get_route(event("A", name="person.list")).path == "/v2/persons"
    assert RESTConvention().get_route(event("A", name="person.list")).path == "/people"


def test_a_pydantic_input_has_fields_as_well() -> None:
    made: Any = create_model("GetUserInput", user_id=(int, ...))
    found: Any = type("GetUser", (Event,), {"__orig_bases__": (Event[made, EventOutput],)})
    assert derived(found).path == "/users/{user_id}"


def test_a_deletion_that_gives_something_back_is_200() -> None:
    output = make_dataclass("Deleted", [("count", int)], bases=(EventOutput,))
    assert derived(event("DeleteUser", "user_id", output=output)).status == 200


def test_what_a_decorator_says_is_kept_and_not_inherited() -> None:
    parent = api_endpoint(path="/x", method=HTTPMethod.PATCH, tags=("a",), public=True)(event("CreateUser"))
    said = get_api_metadata(parent)
    assert (said["path"], said["method"], said["tags"], said["public"]) == ("/x", "PATCH", ["a"], True)
    assert api_endpoint(method="patch")(event("B")).__name__ == "B"
    assert get_api_metadata(type("Child", (parent,), {})) == {} == get_api_metadata(event("Other"))
    found = derived(parent)
    assert (found.method, found.path, found.tags, found.access) == ("PATCH", "/x", ("a",), "open")


def test_an_exclusion_is_of_that_class_alone() -> None:
    parent = exclude_from_api(event("CreateUser"))
    assert is_excluded_from_api(parent)
    assert not is_excluded_from_api(type("Child", (parent,), {}))


def test_access_of_a_decorated_event_is_that_of_the_application_unless_it_is_public() -> None:
    closed = api_endpoint(required_permissions=["users:write"])(event("CreateUser"))
    found = endpoint(Route(closed), "shop", "authenticated")
    assert (found.access, found.permissions) == ("authenticated", ("users:write",))
    opened = api_endpoint(public=True)(event("CreateUser"))
    assert endpoint(Route(opened), "shop", "authenticated").access == "open"
