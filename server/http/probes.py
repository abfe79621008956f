"""`/healthz` and `/readyz`, for orchestrators."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


def routes(ready: Callable[[], bool], troubles: Callable[[], Sequence[str]]) -> list[Route]:
    """Alive: the control loop answers. Ready: `ready` says that requests may be sent.

    `troubles` are lines below the first: problems although requests are answered.
    """

    async def healthz(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    async def readyz(_request: Request) -> PlainTextResponse:
        lines = "".join(f"{line}\n" for line in troubles())
        return PlainTextResponse(f"ready\n{lines}") if ready() else PlainTextResponse(f"not ready\n{lines}", 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
