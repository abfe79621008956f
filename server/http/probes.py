"""`/healthz` and `/readyz`: what an orchestrator asks."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


def routes(ready: Callable[[], bool]) -> list[Route]:
    """Alive: the control loop answers. Ready: `ready` says that requests may be sent."""

    async def healthz(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    async def readyz(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ready\n") if ready() else PlainTextResponse("not ready\n", status_code=503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
