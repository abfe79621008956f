"""`/metrics` for Prometheus, in its text format or as OpenMetrics."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def route(registry: CollectorRegistry) -> Route:
    """Pages are rendered one at a time in a thread of their own, so that scrapers do not block the control loop."""
    renderer = ThreadPoolExecutor(1, "metrics")

    async def page(request: Request) -> Response:
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        body = await asyncio.get_running_loop().run_in_executor(renderer, encoder, registry)
        return Response(body, headers={"content-type": content_type})

    return Route("/metrics", page)
