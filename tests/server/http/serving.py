"""A real HTTP port on a uvloop loop in a thread, and sockets that speak to it byte by byte."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvloop
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette

from onnxpress.server.http.app import build_app
from onnxpress.server.http.connection import Limits
from onnxpress.server.http.server import HttpServer

PATIENCE_S = 30.0


def counting() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("asked", "how often", registry=registry).inc(7)
    return registry


@contextmanager
def serving(
    app: Starlette | None = None, limits: Limits | None = None, ready: Callable[[], bool] = lambda: True
) -> Iterator[int]:
    """The port; closed at the end, within PATIENCE_S."""
    server = HttpServer("127.0.0.1", 0, app or build_app(counting(), ready), limits)
    stop: asyncio.Future[None]
    started = threading.Event()

    async def run() -> None:
        nonlocal stop
        stop = asyncio.get_running_loop().create_future()
        server.start()
        started.set()
        await stop
        await server.close()

    thread = threading.Thread(target=lambda: uvloop.run(run()))
    thread.start()
    assert started.wait(PATIENCE_S)
    try:
        yield server.port
    finally:
        stop.get_loop().call_soon_threadsafe(stop.set_result, None)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S)


def until_closed(client: socket.socket) -> bytes:
    """Everything that comes before the server hangs up."""
    received = b""
    try:
        while piece := client.recv(1 << 16):
            received += piece
    except ConnectionResetError:
        pass
    return received


def ask(port: int, path: str, method: str = "GET", *headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, body."""
    with connected(port) as client:
        lines = (f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", "")
        client.sendall("\r\n".join(lines).encode())
        head, _, body = until_closed(client).partition(b"\r\n\r\n")
    status, *rest = head.decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in rest)
    return int(status.split()[1]), {name.lower(): value for name, value in pairs}, body
