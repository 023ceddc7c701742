"""HTTP: messages as REST endpoints, errors as problem documents, services in FastAPI routes.

application.py  asgi(app): the ASGI application
entrance.py     what every request passes first: context, correlation id, size of the body
auth.py         who asks: AuthMiddleware
access.py       what they may: require_auth, require_permissions, the access of endpoints
table.py        finds what answers a path, whatever the number of paths
operations.py   uno's endpoints as routes
request.py      path, query and body → message
response.py     result → JSON and Location
shapes.py       how aggregates and plain classes look as JSON
openapi.py      what OpenAPI says of them
problems.py     every error as RFC 9457; the only place with HTTP statuses
injection.py    inject_params(): services in the signature of a FastAPI endpoint
router.py       DIAPIRouter
actions.py      the operations of a resource: request → message, result → response
action_forms.py what they have in paths and queries, and what OpenAPI says of it
links.py        the headers and links that OpenAPI has of their answers
list_query.py   lists: the query string, and where the next page is
conditions.py   ETag, If-Match, If-None-Match, Prefer
crud.py         build_crud_router(): a resource on any FastAPI application
forms.py        what reads the input of an event
events.py       input → event → output
modules.py      ModuleRouter: the events of a host on any FastAPI application
event_route.py  their routes
convention.py   their paths
discovery.py    finding them in a package
collisions.py   two routes on one path
health.py       /health, /health/live, /health/ready
metrics.py      /metrics
management.py   /management: tasks and resources, for whoever may look
server.py       listen(), serve(): uvicorn, started and stopped properly
draining.py     how it stops without failing anybody
presence.py     clients that go away, streams that have to end
resources.py    setup_resource_management()
"""

from typing import TYPE_CHECKING

from uno.api.access import get_current_user, require_auth, require_permissions
from uno.api.application import asgi
from uno.api.auth import AuthMiddleware
from uno.api.convention import HTTPMethod, RESTConvention, RouteConvention, RouteInfo
from uno.api.crud import build_crud_router
from uno.api.discovery import DiscoveredEvent, EventDiscovery
from uno.api.health import add_health_endpoints, create_health_endpoint
from uno.api.injection import inject_params
from uno.api.management import create_resource_monitoring_endpoints
from uno.api.metrics import add_metrics_endpoint
from uno.api.modules import ModuleRouter
from uno.api.problems import register_error_handlers
from uno.api.resources import setup_resource_management
from uno.api.router import DIAPIRouter
from uno.api.server import listen, serve
from uno.app.resources import resource
from uno.extras import front_door
from uno.modules.exposure import api_endpoint, exclude_from_api, get_api_metadata, is_excluded_from_api
from uno.security import EXTRAS, AuthProvider, TokenClaims

if TYPE_CHECKING:
    from uno.security import JWTAuthProvider as JWTAuthProvider

__all__ = [
    "AuthMiddleware",
    "AuthProvider",
    "DIAPIRouter",
    "DiscoveredEvent",
    "EventDiscovery",
    "HTTPMethod",
    "JWTAuthProvider",
    "ModuleRouter",
    "RESTConvention",
    "RouteConvention",
    "RouteInfo",
    "TokenClaims",
    "add_health_endpoints",
    "add_metrics_endpoint",
    "api_endpoint",
    "asgi",
    "build_crud_router",
    "create_health_endpoint",
    "create_resource_monitoring_endpoints",
    "exclude_from_api",
    "get_api_metadata",
    "get_current_user",
    "inject_params",
    "is_excluded_from_api",
    "listen",
    "register_error_handlers",
    "require_auth",
    "require_permissions",
    "resource",
    "serve",
    "setup_resource_management",
]

if not TYPE_CHECKING:  # a checker that saw this would believe every name exists
    __all__, __getattr__, __dir__ = front_door(__name__, __all__, EXTRAS)
