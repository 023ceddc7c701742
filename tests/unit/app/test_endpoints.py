"""Endpoints derived from the names of messages."""

from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import create_model

from uno.app.endpoints import Endpoint, endpoint, endpoint_problems, plural
from uno.messages import Command, Message
from uno.modules import Module, Route
from uno.modules.exposure import api_endpoint


def message(name: str, *fields: str) -> type[Message]:
    types: dict[str, Any] = dict.fromkeys(fields, (str, ...))
    return create_model(name, __base__=Command, **types)


def derived(name: str, *fields: str, **said: Any) -> Endpoint:
    return endpoint(Route(message(name, *fields), **said), "shop")


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        # the table of the issue
        ("CreateUser", ["email"], "POST /users 201"),
        ("GetUser", ["user_id"], "GET /users/{user_id} 200"),
        ("ListUsers", [], "GET /users 200"),
        ("UpdateUser", ["user_id", "email"], "PUT /users/{user_id} 200"),
        ("DeleteUser", ["user_id"], "DELETE /users/{user_id} 204"),
        ("SearchUsers", ["text"], "POST /users/search 200"),
        ("SuspendUser", ["user_id"], "POST /users/{user_id}/suspend 200"),
        ("SuspendUser", [], "POST /users/suspend 200"),
        # the demo
        ("ScanEnvironment", ["path"], "POST /environments/scan 200"),
        ("ApprovePackage", ["package_id"], "POST /packages/{package_id}/approve 200"),
        ("RejectPackage", ["package_id", "reason"], "POST /packages/{package_id}/reject 200"),
        ("AnnotatePackage", ["note", "package_id"], "POST /packages/{package_id}/annotate 200"),
        ("GetPackage", ["package_id"], "GET /packages/{package_id} 200"),
        ("ListPackages", ["licence", "page_id"], "GET /packages 200"),
        ("FindDependents", ["package_id"], "POST /dependents/find 200"),
        # plurals, there and back
        ("CreateCompany", [], "POST /companies 201"),
        ("GetCompany", ["company_id"], "GET /companies/{company_id} 200"),
        ("ListCompanies", [], "GET /companies 200"),
        ("GetStatus", ["status_id"], "GET /statuses/{status_id} 200"),
        ("ListStatuses", [], "GET /statuses 200"),
        ("GetBox", ["box_id"], "GET /boxes/{box_id} 200"),
        ("ListBoxes", [], "GET /boxes 200"),
        ("GetClass", ["class_id"], "GET /classes/{class_id} 200"),
        ("ListClasses", [], "GET /classes 200"),
        ("GetMenu", ["menu_id"], "GET /menus/{menu_id} 200"),
        ("ListMenus", [], "GET /menus 200"),
        ("SearchTaxis", [], "POST /taxis/search 200"),
        ("GetAddress", ["address_id"], "GET /addresses/{address_id} 200"),
        ("GetAnalysis", ["analysis_id"], "GET /analyses/{analysis_id} 200"),
        ("ListAnalyses", [], "GET /analyses 200"),
        ("GetDay", ["day_id"], "GET /days/{day_id} 200"),
        ("GetPerson", ["person_id"], "GET /people/{person_id} 200"),
        ("ListPeople", [], "GET /people 200"),
        ("GetNews", ["news_id"], "GET /news/{news_id} 200"),
        ("GetQuiz", ["quiz_id"], "GET /quizzes/{quiz_id} 200"),
        ("ListQuizzes", [], "GET /quizzes 200"),
        ("GetWaltz", ["waltz_id"], "GET /waltzes/{waltz_id} 200"),
        ("GetLeaf", ["leaf_id"], "GET /leaves/{leaf_id} 200"),
        ("ListLeaves", [], "GET /leaves 200"),
        ("GetKnife", ["knife_id"], "GET /knives/{knife_id} 200"),
        ("GetBookShelf", ["book_shelf_id"], "GET /book-shelves/{book_shelf_id} 200"),
        ("GetProof", ["proof_id"], "GET /proofs/{proof_id} 200"),
        ("GetHero", ["hero_id"], "GET /heroes/{hero_id} 200"),
        ("SearchHeroes", [], "POST /heroes/search 200"),
        ("GetPhoto", ["photo_id"], "GET /photos/{photo_id} 200"),
        ("GetSheep", ["sheep_id"], "GET /sheep/{sheep_id} 200"),
        ("ListSheep", [], "GET /sheep 200"),
        ("GetMouse", ["mouse_id"], "GET /mice/{mouse_id} 200"),
        ("ListMice", [], "GET /mice 200"),
        # several words, acronyms, digits
        ("CreateOrderLine", ["order_id"], "POST /order-lines 201"),
        ("GetOrderLine", ["order_id", "order_line_id"], "GET /order-lines/{order_line_id} 200"),
        ("GetHTTPStatus", ["http_status_id"], "GET /http-statuses/{http_status_id} 200"),
        ("ListAPIKeys", [], "GET /api-keys 200"),
        ("GetURL", ["url_id"], "GET /urls/{url_id} 200"),
        ("RevokeAPIKey", ["api_key_id"], "POST /api-keys/{api_key_id}/revoke 200"),
        ("GetOAuth2Token", ["id"], "GET /o-auth2-tokens/{id} 200"),
        # a plain id, a suffix, a lonely verb
        ("GetUser", ["id"], "GET /users/{id} 200"),
        ("GetUser", ["id", "user_id"], "GET /users/{user_id} 200"),
        ("CreateUserCommand", [], "POST /users 201"),
        ("ListUsersQuery", [], "GET /users 200"),
        ("RunQuery", ["query_id"], "POST /queries/{query_id}/run 200"),
        ("CreateCommand", [], "POST /commands 201"),
        ("Ping", [], "POST /ping 200"),
        ("MyID", [], "POST /ids/my 200"),
    ],
)
def test_a_name_gives_method_path_and_status(name: str, fields: list[str], expected: str) -> None:
    found = derived(name, *fields)
    assert f"{found.method} {found.path} {found.status}" == expected
    assert endpoint_problems([found]) == []


@given(st.from_regex(r"[a-z]{1,9}[a-hj-tv-z]", fullmatch=True))  # menu and taxi: no rule tells menus from status
def test_a_plural_stays_a_plural(noun: str) -> None:
    assert plural(plural(noun)) == plural(noun)


@given(st.from_regex(r"([A-Z][a-z0-9]{1,6}|[A-Z]{2,4}){1,4}", fullmatch=True))
def test_any_class_name_gives_a_path_with_only_its_own_fields(name: str) -> None:
    found = derived(name, "thing_id")
    assert found.path.startswith("/")
    assert "//" not in found.path
    assert endpoint_problems([found]) == []


def test_everything_derived_can_be_said_instead() -> None:
    found = derived(
        "CreateUser",
        method="put",
        path="/people/{user_id}",
        status=200,
        access="admin",
        tags=["x"],
        summary="Make.",
    )
    assert found == Endpoint("PUT", "/people/{user_id}", found.message, 200, "admin", "CreateUser", ("x",), "Make.")


def test_a_convention_is_asked_after_what_the_message_says_and_before_its_name() -> None:
    say, make = message("CreateUser"), api_endpoint(method="put", public=True, required_permissions=["users:write"])
    usual = Route(say, method="post", path="/rpc", tags=["rpc"], summary="Call.")
    found = endpoint(Route(say, path="/here"), "shop", "authenticated", usual=usual)
    assert (found.method, found.path, found.tags, found.summary) == ("POST", "/here", ("rpc",), "Call.")
    assert (found.status, found.access, found.permissions) == (201, "authenticated", ())
    found = endpoint(Route(make(say)), "shop", "authenticated", usual=usual)
    assert (found.method, found.path, found.access, found.permissions) == ("PUT", "/rpc", "open", ("users:write",))


def test_a_module_gives_its_name_as_tag_and_says_nothing_about_access() -> None:
    found = derived("CreateUser")
    assert (found.tags, found.access, found.name) == (("shop",), "open", "CreateUser")
    assert endpoint(Route(found.message), "shop", "authenticated").access == "authenticated"


def test_two_messages_on_one_path_clash_whatever_the_parameter_is_called() -> None:
    one = derived("GetUser", "user_id")
    other = derived("FetchUser", "key", method="GET", path="/users/{key}")
    [problem] = endpoint_problems([one, derived("ListUsers"), other])
    assert str(problem) == (
        "route clash: GET /users/{user_id}\n   GetUser and FetchUser have the same path; give one a path= of its own."
    )


def test_the_same_path_with_another_method_is_no_clash() -> None:
    names = ("GetUser", "UpdateUser", "DeleteUser")
    assert endpoint_problems([derived(name, "user_id") for name in names]) == []


def test_a_path_with_a_parameter_that_is_no_field_is_a_problem() -> None:
    [problem] = endpoint_problems([derived("GetUser", "user_id", path="/users/{uid}")])
    assert str(problem) == (
        "unknown path field: GET /users/{uid}\n   GetUser has no field 'uid'; add it or change the path."
    )


def test_a_parameter_with_a_converter_is_its_field() -> None:
    found = derived("GetFile", "path", path="/files/{path:path}")
    assert found.path_fields == ("path",)
    assert endpoint_problems([found]) == []


def test_access_that_nobody_can_check_is_a_problem() -> None:
    [problem] = endpoint_problems([derived("GetUser", "user_id", access="authenticated")])
    assert problem.kind == "unchecked access"
    assert problem.message.endswith('use access="open".')


def test_a_module_lists_messages_and_routes() -> None:
    create = message("CreateUser")

    class Users(Module):
        routes = (create, Route(create, path="/people"))

    assert [r.path for r in Users().endpoints()] == [None, "/people"]
    assert Users().name == "users"
    assert Users("members", routes=[create]).endpoints() == [Route(create)]
    assert Module("empty").endpoints() == []
