"""Clients that are slow, silent or many: each is cut off, and none of them keeps others from being answered."""

import select
from time import monotonic

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpress.server.http.connection import Limits
from tests.server.http.serving import PATIENCE_S, ask, connected, serving, until_closed

FEW, BRIEF_S = 4, 0.3
BODY = b"x" * (32 << 20)  # far beyond what the sockets of both ends hold
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def _large(_request: Request) -> Response:
    return Response(BODY)


@pytest.mark.parametrize(
    "sent", [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: 1\r\n", b"POST / HTTP/1.1\r\nContent-"]
)
def test_who_does_not_finish_a_request_is_cut_off(sent: bytes) -> None:
    """A client has so many seconds for a request, whether it sends nothing or stops in its headers."""
    with serving(limits=Limits(request_s=BRIEF_S)) as port, connected(port) as client:
        client.sendall(sent)
        assert until_closed(client) == b""


def test_drop_by_drop_gives_no_more_time() -> None:
    """A byte now and then does not extend the time for a request."""
    with serving(limits=Limits(request_s=BRIEF_S)) as port, connected(port) as client:
        client.settimeout(BRIEF_S / 10)
        sent = 0
        while True:
            try:
                client.sendall(b"GET / HTTP/1.1\r\n" if not sent else b"X: y\r\n")
                sent += 1
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                assert sent < 1000
            except OSError:
                break
        assert 1 < sent < 100


def test_who_does_not_read_is_cut_off() -> None:
    """An answer that nobody takes is dropped with its connection."""
    app = Starlette(routes=[Route("/large", _large)])
    with serving(app, Limits(request_s=BRIEF_S)) as port, connected(port) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(1)
        # Another client's time passes meanwhile: the first one's was over before.
        with connected(port) as clock:
            assert until_closed(clock) == b""
        assert len(until_closed(client)) < len(BODY)


def test_a_connection_is_kept_for_the_next_request() -> None:
    """Time starts anew with each request, so a scraper that keeps its connection is not cut off in the middle."""
    with serving(limits=Limits(request_s=BRIEF_S)) as port, connected(port) as client:
        end = monotonic() + 3 * BRIEF_S
        while monotonic() < end:
            client.sendall(GET)
            answer = b""
            while not answer.endswith(b"alive\n"):  # header and body may come in two segments
                answer += (part := client.recv(1 << 16))
                assert part, answer
        client.sendall(GET * 2 + GET.replace(b"Host", b"Connection: close\r\nHost"))
        received = until_closed(client)
        assert received.count(b"alive\n") == 3


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\n", GET])
def test_a_crowd_does_not_lock_others_out(sent: bytes) -> None:
    """Beyond the limit the client that has kept the server waiting longest goes, and who asks is answered."""
    with serving(limits=Limits(connections_max=FEW, request_s=600)) as port:
        crowd = [connected(port) for _ in range(FEW)]
        for client in crowd:
            client.sendall(sent)
            if sent is GET:
                assert client.recv(1 << 16)
        assert ask(port, "/healthz")[0] == 200
        gone, _, _ = select.select(crowd, [], [], PATIENCE_S)
        assert [until_closed(client) for client in gone] == [b""]
        assert [ask(port, "/healthz")[0] for _ in range(9)] == [200] * 9
        for client in crowd:
            client.close()


def test_headers_have_a_limit() -> None:
    """Headers without end are refused long before they cost memory."""
    limits = Limits(header_bytes_max=4096)
    with serving(limits=limits) as port, connected(port) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        try:
            for sent in range(1, 1001):
                client.sendall(f"X-{sent}: {'y' * 1000}\r\n".encode())
        except OSError:
            pass
        received = until_closed(client)
        assert received == b"" or b" 400 " in received
        assert sent < 1000 or b" 400 " in received
        assert ask(port, "/healthz", "GET", f"X-Short: {'y' * 2000}")[0] == 200


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 99])
def test_what_is_no_http_is_refused(noise: bytes) -> None:
    """A TLS or HTTP/2 client, or a scanner, is hung up on, and the next one is served."""
    with serving(limits=Limits(request_s=BRIEF_S)) as port:
        with connected(port) as client:
            client.sendall(noise)
            received = until_closed(client)
        assert received == b"" or b" 400 " in received or b" 404 " in received
        assert ask(port, "/healthz")[0] == 200
