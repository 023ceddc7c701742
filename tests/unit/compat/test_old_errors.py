"""The errors of pymodules.api: errors of uno's tree, each answered with its problem."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from uno.api import register_error_handlers
from uno.compat.errors import (
    APIError,
    AuthenticationError,
    AuthorizationError,
    ErrorCode,
    NotFoundError,
    ValidationError,
)
from uno.errors import Forbidden, Invalid, NotFound, Unauthenticated, UnoError

ERRORS: list[tuple[APIError, type[UnoError], int, str]] = [
    (APIError("Broken."), UnoError, 500, "internal_error"),
    (APIError("Teapot.", code="teapot", status_code=418), UnoError, 418, "teapot"),
    (NotFoundError("User", 7), NotFound, 404, "resource_not_found"),
    (NotFoundError("User"), NotFound, 404, "resource_not_found"),
    (ValidationError("Wrong."), Invalid, 422, "validation_error"),
    (AuthenticationError(), Unauthenticated, 401, "unauthorized"),
    (AuthenticationError("Late.", code=ErrorCode.TOKEN_EXPIRED), Unauthenticated, 401, "token_expired"),
    (AuthorizationError(required_permissions=["users:write"]), Forbidden, 403, "forbidden"),
]


@pytest.mark.parametrize(("error", "kind", "status", "code"), ERRORS)
def test_an_old_error_is_one_of_unos_and_answered_with_its_problem(
    error: APIError, kind: type[UnoError], status: int, code: str
) -> None:
    app = FastAPI()
    register_error_handlers(app)

    @app.get("/")
    async def fail() -> Any:
        raise error

    response = TestClient(app).get("/")
    assert isinstance(error, kind)
    assert (response.status_code, response.json()["status"], error.status_code) == (status, status, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.json()["code"], response.json()["detail"]) == (code, error.message)
    assert str(error) == error.message == error.to_dict()["message"]


def test_a_missing_thing_is_named() -> None:
    error = NotFoundError("User", 7)
    assert "User" in str(error)
    assert "7" in str(error)
    assert (error.kind, error.id) == ("User", 7)


def test_details_are_in_the_document() -> None:
    assert AuthorizationError(required_permissions=["a"]).extensions == {
        "code": "forbidden",
        "details": {"required_permissions": ["a"]},
    }
    assert APIError("No.", details={"x": 1}).details == {"x": 1}
