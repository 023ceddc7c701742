"""The errors of `pymodules.api`, as errors of uno's tree: each is answered with its problem."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from uno.errors import Forbidden, Invalid, NotFound, Unauthenticated, UnoError


class ErrorCode(StrEnum):
    """What clients of PyModules know an error by."""

    UNAUTHORIZED = "unauthorized"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - no password
    INVALID_TOKEN = "invalid_token"  # noqa: S105
    FORBIDDEN = "forbidden"
    INSUFFICIENT_PERMISSIONS = "insufficient_permissions"
    NOT_FOUND = "not_found"
    RESOURCE_NOT_FOUND = "resource_not_found"
    VALIDATION_ERROR = "validation_error"
    INVALID_INPUT = "invalid_input"
    MISSING_FIELD = "missing_field"
    CONFLICT = "conflict"
    DUPLICATE_RESOURCE = "duplicate_resource"
    INTERNAL_ERROR = "internal_error"
    EVENT_HANDLING_ERROR = "event_handling_error"
    SERVICE_UNAVAILABLE = "service_unavailable"


class APIError(UnoError):
    """Answered with `status_code`; `code` and `details` are members of the problem document."""

    default_code = ErrorCode.INTERNAL_ERROR

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode | str | None = None,
        status_code: int = 500,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        # Not super(): the errors of uno that are mixed in have an __init__ of their own.
        Exception.__init__(self, message)
        self.message = message
        self.code = code or self.default_code
        self.status_code = status_code
        self.details = dict(details or {})

    @property
    def extensions(self) -> dict[str, Any]:
        """Members of the problem document beside those of RFC 9457."""
        return {"code": str(self.code), **({"details": self.details} if self.details else {})}

    def to_dict(self) -> dict[str, Any]:
        return {
            "error": type(self).__name__,
            "code": str(self.code),
            "message": self.message,
            "details": self.details,
        }


class NotFoundError(APIError, NotFound):
    default_code = ErrorCode.RESOURCE_NOT_FOUND

    def __init__(self, resource_type: str, resource_id: object = None, **options: Any) -> None:
        said = "" if resource_id is None else f" with id {str(resource_id)!r}"
        super().__init__(f"There is no {resource_type}{said}.", status_code=404, **options)
        self.kind = self.resource_type = resource_type
        self.id = self.resource_id = resource_id


class ValidationError(APIError, Invalid):
    default_code = ErrorCode.VALIDATION_ERROR

    def __init__(self, message: str = "The input is not valid.", **options: Any) -> None:
        super().__init__(message, status_code=422, **options)
        self.errors = ()


class AuthenticationError(APIError, Unauthenticated):
    default_code = ErrorCode.UNAUTHORIZED

    def __init__(self, message: str = "Log in first.", **options: Any) -> None:
        super().__init__(message, status_code=401, **options)


class AuthorizationError(APIError, Forbidden):
    default_code = ErrorCode.FORBIDDEN

    def __init__(
        self, message: str = "Not allowed.", *, required_permissions: Iterable[str] = (), **options: Any
    ) -> None:
        self.required_permissions = list(required_permissions)
        needed = {"required_permissions": self.required_permissions} if self.required_permissions else {}
        details = {**needed, **(options.pop("details", None) or {})}
        super().__init__(message, status_code=403, details=details, **options)
