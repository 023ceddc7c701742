"""The short way to uno's endpoints: past what FastAPI and Starlette put around their own routes."""

from starlette.routing import Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uno.api.operations import RAISED, Operations


class Door:
    """ASGI middleware around all that stands around routes, for applications that have put nothing of theirs there.

    What stands there has nothing to do with an answer, and everything with an error. So a request that failed
    before it was answered goes the whole way to its endpoint, which raises the same error again.
    """

    def __init__(self, app: ASGIApp, router: Router, operations: Operations) -> None:
        self.app = app
        self._router = router
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_first() and scope["type"] == "http" and "fastapi.telemetry" not in scope:
            found, more = self._operations.matches(scope)
            if found is Match.FULL:
                scope["router"] = self._router
                scope.update(more)
                error = await self._answered(scope, receive, send)
                if error is None:
                    return
                scope[RAISED] = error
        await self.app(scope, receive, send)

    def _is_first(self) -> bool:
        """Whether nobody has put a route before uno's."""
        return self._router.routes[0] is self._operations

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> Exception | None:
        """The error of an endpoint that has not answered."""
        begun = False

        def sending(message: Message):  # type: ignore[no-untyped-def] # what send gives back: no coroutine of its own
            nonlocal begun
            begun = True
            return send(message)

        try:
            await scope["route"].app(scope, receive, sending)
        except Exception as error:  # handlers of errors see it, on the long way
            if begun:
                raise
            return error
        return None
