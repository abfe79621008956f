"""The HTTP port's life: binding, stopping, and whose signals are whose."""

import asyncio
import signal
import socket

import pytest

from onnxpress.server.errors import UsageError
from onnxpress.server.http.app import build_app
from onnxpress.server.http.server import HttpServer
from tests.server.http.serving import connected, counting, serving, until_closed


def test_a_port_that_is_taken_is_a_usage_error() -> None:
    """One clear line names address and reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            HttpServer("127.0.0.1", port, build_app(counting(), lambda: True))


def test_an_address_of_another_machine_is_a_usage_error() -> None:
    """192.0.2.1 is reserved for documentation, so no machine has it."""
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1:0"):
        HttpServer("192.0.2.1", 0, build_app(counting(), lambda: True))


def test_clients_do_not_hold_up_the_stop() -> None:
    """Silent clients are let go at once, and the port refuses new ones."""
    with serving() as port:
        silent, halfway = connected(port), connected(port)
        halfway.sendall(b"GET /healthz HTTP/1.1\r\n")
    for client in (silent, halfway):
        with client:
            assert until_closed(client) == b""
    with pytest.raises(ConnectionRefusedError):
        connected(port)


def test_signals_are_left_alone() -> None:
    """SIGTERM is the composition root's, which drains first."""
    numbers = (signal.SIGTERM, signal.SIGINT)

    async def handlers() -> list[object]:
        """While it serves on a loop in the main thread, which alone may have handlers."""
        server = HttpServer("127.0.0.1", 0, build_app(counting(), lambda: True))
        server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert await reader.read()
        found = [signal.getsignal(number) for number in numbers]
        writer.close()
        await server.close()
        return found

    before = [signal.getsignal(number) for number in numbers]
    with asyncio.Runner() as runner:
        # The runner has a handler of its own for SIGINT.
        assert runner.run(handlers())[0] == before[0]
