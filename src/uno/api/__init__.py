"""HTTP: messages as REST endpoints, errors as problem documents, services in FastAPI routes.

application.py  asgi(app): the ASGI application
entrance.py     what every request passes first: context, correlation id, size of the body
table.py        finds what answers a path, whatever the number of paths
operations.py   uno's endpoints as routes
request.py      path, query and body → message
response.py     result → JSON and Location
shapes.py       how aggregates and plain classes look as JSON
openapi.py      what OpenAPI says of them
problems.py     every error as RFC 9457; the only place with HTTP statuses
injection.py    inject_params(): services in the signature of a FastAPI endpoint
router.py       DIAPIRouter
health.py       /health/live, /health/ready
server.py       listen(), serve(): uvicorn, started and stopped properly
"""

from uno.api.application import asgi
from uno.api.injection import inject_params
from uno.api.problems import register_error_handlers
from uno.api.router import DIAPIRouter
from uno.api.server import listen, serve

__all__ = ["DIAPIRouter", "asgi", "inject_params", "listen", "register_error_handlers", "serve"]
