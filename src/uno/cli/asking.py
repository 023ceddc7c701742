"""Asking a running process over HTTP: its pages under /management, with errors in one sentence."""

import os
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from uno import clock
from uno.errors import Forbidden, Misconfigured, Unauthenticated, Unavailable
from uno.redact import brief, one_line
from uno.settings import ApiSettings, read

# Seconds for the whole answer, and its largest size in bytes.
PATIENCE, LARGEST = 10.0, 64 * 1024 * 1024
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 # nothing listens here
_PROBLEM = "application/problem+json"


class Call(BaseModel):
    """What a thread is doing."""

    function: str
    age: float


class Pool(BaseModel):
    """A pool of threads."""

    name: str
    threads: int
    running: int
    waiting: int
    calls: list[Call]


class Task(BaseModel):
    """One task, and the groups it has to wait for."""

    id: int
    name: str
    group: str | None
    state: str
    age: float | None
    created_at: str | None
    waits_at: str | None
    stack: list[str]
    owner: int | None
    restarts: int
    error: str | None
    groups: "list[Group]"


class Group(BaseModel):
    """A group, and its tasks."""

    group: str
    age: float
    created_at: str | None
    tasks: list[Task]


class Tasks(BaseModel):
    """What /management/tasks says; ages in seconds."""

    pid: int
    stage: str
    uptime: float
    count: int
    hidden: int
    tasks: list[Task | Group]
    threads: list[Pool]


class Resource(BaseModel):
    """One resource."""

    type: str
    health: str
    depends_on: list[str]
    figures: dict[str, Any]


class Resources(BaseModel):
    """What /management/resources says."""

    pid: int
    resources: dict[str, Resource]


T = TypeVar("T", bound=BaseModel)


def ask(url: str | None, page: str, form: type[T]) -> T:
    """What the process at `url` answers under /management/`page`.

    Raises an error with one sentence: `Unavailable` where nothing answers or it is closed, `Unauthenticated` and
    `Forbidden`, and `Misconfigured` for what is not uno.
    """
    address = _address(url, page)
    token = _token()
    status, kind, body = _get(address, token)
    shown = one_line(str(address))
    if status != HTTPStatus.OK:
        raise _refusal(status, kind, shown, has_token=token is not None)
    try:
        return form.model_validate_json(body)
    except ValidationError:
        raise _stranger(shown) from None


def _address(url: str | None, page: str) -> httpx2.URL:
    """The page; `url` may be where the process is served, or the whole of it."""
    given = url or _default()
    try:
        parsed = httpx2.URL(given if "://" in given else f"http://{given}")
    except httpx2.InvalidURL:
        raise Misconfigured(f"{given!r} is no URL; write it as http://host:port.") from None
    if parsed.userinfo:
        raise Misconfigured(
            "Leave name and password out of the URL, where others can read them; put a token into UNO_TOKEN."
        )
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Misconfigured(f"{given!r} is no URL of a server; write it as http://host:port.")
    path = parsed.path.rstrip("/")
    return parsed.copy_with(path=path if path.endswith(f"/{page}") else f"{path}/management/{page}")


def _default() -> str:
    settings = read(ApiSettings)
    if settings.port == 0:
        raise Misconfigured("UNO_API_PORT is 0, which is any free port: give the URL that `uno run` has printed.")
    host = _EVERYWHERE.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _token() -> str | None:
    token = os.environ.get("UNO_TOKEN", "").strip()
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise Misconfigured("What is in UNO_TOKEN is no token: it has a space, or a character that no token has.")
    return token


def _get(address: httpx2.URL, token: str | None) -> tuple[int, str, bytes]:
    """Status, media type, body."""
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    until = clock.monotonic() + PATIENCE
    try:
        # Of this machine no proxy is asked, and gets no token.
        with (
            httpx2.Client(timeout=PATIENCE, trust_env=not _is_here(address.host)) as client,
            client.stream("GET", address, headers=headers) as response,
        ):
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > LARGEST or clock.monotonic() > until:
                    raise _stranger(one_line(str(address)))
            return response.status_code, response.headers.get("content-type", "").partition(";")[0], bytes(body)
    except httpx2.TimeoutException:
        raise Unavailable(
            f"{address} has not answered within {PATIENCE:g} s: something may block its event loop."
        ) from None
    except httpx2.ConnectError as error:
        raise Unavailable(f"Nothing answers at {address}: {_why(error)}; is it running, and is this its URL?") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        raise Unavailable(f"{address} gave no answer that can be read: {_why(error)}.") from None


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why(error: Exception) -> str:
    return brief(one_line(str(error))).rstrip(".") or type(error).__name__


def _refusal(status: int, kind: str, address: str, *, has_token: bool) -> Exception:
    if status == HTTPStatus.UNAUTHORIZED:
        return Unauthenticated(
            f"{address} does not accept the token in UNO_TOKEN: it may have expired, or be another server's."
            if has_token
            else f"{address} wants to know who asks: put a token into the environment variable UNO_TOKEN."
        )
    if status == HTTPStatus.FORBIDDEN:
        return Forbidden(f"Whose token is in UNO_TOKEN may not look at {address}: the permission is missing.")
    if status == HTTPStatus.NOT_FOUND and kind == _PROBLEM:
        return Unavailable(
            f"There is no {address}: it is closed. The process opens it when it is started with UNO_API_MANAGEMENT, "
            'the name of the permission it asks for (or "authenticated", or "open").'
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(f"{address} answers with an error of its own, {status}; its log says more.")
    return _stranger(address, f" (it answers {status})")


def _stranger(address: str, more: str = "") -> Misconfigured:
    return Misconfigured(f"What answers at {address} is not a process of uno{more}; check the URL.")
