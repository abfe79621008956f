"""The ASGI app of the HTTP port; each module of this room adds its routes."""

from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from onnxpress.server.http import metrics, probes


def build_app(
    registry: CollectorRegistry, ready: Callable[[], bool], troubles: Callable[[], Sequence[str]] = tuple
) -> Starlette:
    """`ready` and `troubles` are called on the control loop."""
    routes = [metrics.route(registry), *probes.routes(ready, troubles)]
    app = Starlette(routes=routes, exception_handlers={404: _not_found(routes)})
    app.router.redirect_slashes = False
    return app


# Handlers are coroutines: Starlette would run plain functions in a thread pool that it imports when first needed.
def _not_found(routes: Sequence[Route]) -> Callable[[Request, Exception], Awaitable[Response]]:
    text = f"not found; there are {', '.join(route.path for route in routes)}\n"

    async def answer(_request: Request, _error: Exception) -> Response:
        return PlainTextResponse(text, status_code=404)

    return answer
