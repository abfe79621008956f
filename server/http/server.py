"""The HTTP port: uvicorn on the control loop."""

import asyncio
import logging
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette

from onnxpress.server.errors import UsageError
from onnxpress.server.http.connection import Connection, Limits

STOP_S = 1
BACKLOG = 128


class HttpServer:
    """Owns the listening socket and the task that serves it."""

    def __init__(self, host: str, port: int, app: Starlette, limits: Limits | None = None) -> None:
        """Binds the port; connections wait until `start`. Raises UsageError if it is in use."""
        limits = limits or Limits()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self.port: int = self._socket.getsockname()[1]
        protocol: Any = partial(Connection, limits)
        config = uvicorn.Config(
            app, http=protocol, ws="none", lifespan="off", interface="asgi3",
            log_config=None, log_level=logging.ERROR,  # errors of clients must not fill the log
            access_log=False, proxy_headers=False, server_header=False,
            timeout_keep_alive=math.ceil(limits.request_s), timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=limits.header_bytes_max,
        )  # fmt: skip
        # Imported now, so that no request waits for an import.
        config.load()
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """On the running loop."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]))

    async def close(self) -> None:
        """Finishes open requests, for at most STOP_S seconds."""
        self._server.should_exit = True
        if self._serving:
            await self._serving


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Keeps uvicorn from handling SIGTERM, which the composition root handles."""
        yield
