"""P3: a bad, cancelled, expired or rude request changes nothing for the others."""

import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from onnxpress.protos.inference_pb2 import ModelInferRequest
from tests.answers import Arrays, churn_rows, number_rows
from tests.inference_calls import DEADLINE_S, INFER, connected, decode, request, same
from tests.model_repository import Models
from tests.server_process import ServerProcess

MANY = 64
# A run of this many rows of the heavy model takes long enough that what comes next has to queue.
HEAVY_ROWS = 20_000
# Even alone these take longer than a millisecond, so no luck answers them within one.
HURRIED_ROWS = 500


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[Any]:
    with connected(server.grpc) as connection:
        yield connection


def spoil(message: ModelInferRequest, way: int) -> ModelInferRequest:
    """One of several ways to be wrong."""
    if way == 0:
        message.inputs[0].shape[0] += 1
    elif way == 1:
        message.model_name = "nosuch"
    elif way == 2:
        message.raw_input_contents[0] = message.raw_input_contents[0][:-1]
    else:
        message.inputs[0].datatype = "FP64"
    return message


def test_malformed_among_many(stub: Any, models: Models) -> None:
    """Of 64 requests at once every fourth is malformed: those are refused, all others answered right."""
    feeds = [{"input": number_rows(1 + n % 9, n)} for n in range(MANY)]
    offline = models.answers("numbers/2")
    calls = []
    for n, feed in enumerate(feeds):
        message = request(feed)
        calls.append(stub.ModelInfer.future(spoil(message, n // 4 % 4) if n % 4 == 3 else message, timeout=DEADLINE_S))
    for n, (call, feed) in enumerate(zip(calls, feeds, strict=True)):
        if n % 4 == 3:
            assert call.exception().code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
        else:
            assert same(decode(call.result()), offline(feed)), n


def test_cancelled_among_many(stub: Any, models: Models) -> None:
    """While the heavy model runs, 64 requests queue and every fourth caller leaves: the others get their own rows."""
    busy = [
        stub.ModelInfer.future(request({"input": number_rows(HEAVY_ROWS)}, "heavy"), timeout=DEADLINE_S)
        for _ in range(3)
    ]
    feeds = [{"input": number_rows(1 + n % 9, n)} for n in range(MANY)]
    calls = [stub.ModelInfer.future(request(feed, "heavy"), timeout=DEADLINE_S) for feed in feeds]
    for call in calls[::4]:  # more than 20 at once would be a rapid reset to the native front (ADR 0002)
        call.cancel()
    offline = models.answers("heavy/1")
    for n, (call, feed) in enumerate(zip(calls, feeds, strict=True)):
        if not call.cancelled():
            assert same(decode(call.result()), offline(feed)), n
    assert {n for n, call in enumerate(calls) if call.cancelled()} <= set(range(0, MANY, 4))
    assert any(call.cancelled() for call in calls), "everything was answered before anybody left: nothing was tested"
    for call in busy:
        assert len(decode(call.result())["label"]) == HEAVY_ROWS


def test_only_cancelled_calls(stub: Any, models: Models) -> None:
    """When everybody in the queue has left, the server answers the next one as if nothing had been."""
    busy = [
        stub.ModelInfer.future(request({"input": number_rows(HEAVY_ROWS)}, "heavy"), timeout=DEADLINE_S)
        for _ in range(3)
    ]
    for call in [stub.ModelInfer.future(request({"input": number_rows(2, n)}, "heavy")) for n in range(MANY)]:
        call.cancel()
    for call in busy:
        call.cancel()
    feeds = {"input": number_rows(5)}
    answer = stub.ModelInfer(request(feeds, "heavy"), timeout=DEADLINE_S)
    assert same(decode(answer), models.answers("heavy/1")(feeds))


def test_cancelling_what_is_answered(stub: Any, models: Models) -> None:
    """A call that is cancelled after its answer stays answered, and harms nothing."""
    feeds = {"input": number_rows(2)}
    call = stub.ModelInfer.future(request(feeds), timeout=DEADLINE_S)
    assert same(decode(call.result()), models.answers("numbers/2")(feeds))
    assert not call.cancel()
    assert same(decode(stub.ModelInfer(request(feeds), timeout=DEADLINE_S)), models.answers("numbers/2")(feeds))


def test_cancelled_split_request(stub: Any, models: Models) -> None:
    """A huge request whose caller leaves while a part of it has run takes nothing with it."""
    for _ in range(3):
        huge = stub.ModelInfer.future(request({"input": number_rows(HEAVY_ROWS)}, "heavy"), timeout=DEADLINE_S)
        feeds = {"input": number_rows(3)}
        # Its answer shows that the huge one, which came first, has begun.
        assert same(
            decode(stub.ModelInfer(request(feeds, "heavy"), timeout=DEADLINE_S)), models.answers("heavy/1")(feeds)
        )
        huge.cancel()
    assert same(decode(stub.ModelInfer(request(feeds, "heavy"), timeout=DEADLINE_S)), models.answers("heavy/1")(feeds))


def test_expired_in_the_queue(start: Callable[..., ServerProcess], models: Models) -> None:
    """Requests whose deadline passes while they queue end with that; who waits longer is answered right."""
    server = start("heavy", flags=("--run-slots", "1", "--latency-target-ms", "60000"), tried=True)
    with connected(server.grpc) as stub:
        busy = stub.ModelInfer.future(request({"input": number_rows(HEAVY_ROWS)}, "heavy"), timeout=DEADLINE_S)
        hurried = [
            stub.ModelInfer.future(request({"input": number_rows(HURRIED_ROWS, n)}, "heavy"), timeout=0.001)
            for n in range(8)
        ]
        codes = {call.exception(DEADLINE_S).code() for call in hurried}
        # Refused at the door when the forecast sees it coming, told by the queue otherwise.
        assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(decode(busy.result(DEADLINE_S))["label"]) == HEAVY_ROWS
        feeds = {"input": number_rows(2)}
        assert same(
            decode(stub.ModelInfer(request(feeds, "heavy"), timeout=DEADLINE_S)), models.answers("heavy/1")(feeds)
        )


class RawConnection:
    """HTTP/2 by hand, for clients that misbehave."""

    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    HEADERS, DATA, SETTINGS, END_HEADERS, END_STREAM = 1, 0, 4, 4, 1

    def __init__(self, address: str, *, window: int = 65_535) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), DEADLINE_S)
        self.socket.sendall(self.PREFACE)
        self.frame(self.SETTINGS, 0, 0, struct.pack(">HI", 4, window))

    def frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.socket.sendall(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    def headers(self, stream: int) -> None:
        """A gRPC call's request headers, as literals without a table (HPACK)."""
        fields = {
            ":method": "POST", ":scheme": "http", ":path": INFER, ":authority": "x",
            "content-type": "application/grpc", "te": "trailers",
        }  # fmt: skip
        block = b"".join(
            b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in fields.items()
        )
        self.frame(self.HEADERS, self.END_HEADERS, stream, block)

    def message(self, stream: int, payload: bytes) -> None:
        framed = b"\0" + struct.pack(">I", len(payload)) + payload
        self.frame(self.DATA, self.END_STREAM, stream, framed)


def fine(server: ServerProcess, models: Models) -> None:
    """Thirty others are served right meanwhile."""
    feeds = [{"input": number_rows(1 + n, n)} for n in range(30)]
    offline = models.answers("numbers/2")
    with connected(server.grpc) as stub, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda feed: stub.ModelInfer(request(feed), timeout=DEADLINE_S), feeds))
    assert all(same(decode(answer), offline(feed)) for answer, feed in zip(answers, feeds, strict=True))


def test_client_that_never_reads(server: ServerProcess, models: Models) -> None:
    """A client with a closed window that asks 200 times and reads nothing holds up nobody."""
    rude = RawConnection(server.grpc, window=0)
    payload = request({"input": number_rows(50)}).SerializeToString()
    for n in range(200):
        rude.headers(2 * n + 1)
        rude.message(2 * n + 1, payload[:1]) if n % 2 else rude.message(2 * n + 1, b"")
    fine(server, models)
    rude.socket.close()
    fine(server, models)


@pytest.mark.parametrize(
    "half",
    [
        b"",
        RawConnection.PREFACE[:10],
        RawConnection.PREFACE,
        RawConnection.PREFACE + b"\0\0\6\4\0",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 10,
    ],
)
def test_half_sent_frames(server: ServerProcess, models: Models, half: bytes) -> None:
    """Connections that stop in the middle of a handshake, or never spoke HTTP/2, cost nobody anything."""
    host, _, port = server.grpc.rpartition(":")
    rude = [socket.create_connection((host, int(port)), DEADLINE_S) for _ in range(20)]
    for connection in rude:
        connection.sendall(half)
    fine(server, models)
    for connection in rude:
        connection.close()
    fine(server, models)


def test_half_sent_messages(server: ServerProcess, models: Models) -> None:
    """Calls whose message is announced and never comes wait for themselves only; so does one that announces 4 GiB."""
    rude = RawConnection(server.grpc)
    for stream in range(1, 60, 2):
        rude.headers(stream)
        rude.frame(RawConnection.DATA, 0, stream, b"\0" + struct.pack(">I", 3600) + bytes(100))
    rude.headers(61)
    rude.frame(RawConnection.DATA, 0, 61, b"\0" + struct.pack(">I", 2**32 - 1) + bytes(100))
    fine(server, models)
    rude.socket.close()
    fine(server, models)


def test_shapes_of_64_gib(server: ServerProcess, stub: Any, models: Models) -> None:
    """Shapes that would need 64 GiB are refused before anything is made of them."""
    import psutil

    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    shapes = ([2**29, 30], [2**33, 2**33], [2**62, 2**62], [2**63 - 1, 1])
    for shape in shapes:
        for typed in (False, True):
            message = request({"input": number_rows(1)})
            message.inputs[0].shape[:] = shape
            if typed:
                message.inputs[0].contents.fp32_contents.extend(number_rows(1)[0].tolist())
                del message.raw_input_contents[:]
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(message, timeout=DEADLINE_S)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    huge = request(churn_rows(1), "churn")
    huge.inputs[0].shape[:] = [2**34, 1]
    with pytest.raises(grpc.RpcError):
        stub.ModelInfer(huge, timeout=DEADLINE_S)
    assert process.memory_info().rss - before < 64 * 2**20
    fine(server, models)


def test_stream_that_is_abandoned(server: ServerProcess, models: Models) -> None:
    """A stream with much under way whose caller leaves harms neither other streams nor other calls."""
    with connected(server.grpc) as stub:
        messages = [request({"input": number_rows(900)}, "heavy") for _ in range(40)]
        leaving = stub.ModelStreamInfer(iter(messages), timeout=DEADLINE_S)
        next(leaving)
        staying = stub.ModelStreamInfer(
            iter([request({"input": number_rows(1)}), request(churn_rows(2), "churn")]), timeout=DEADLINE_S
        )
        leaving.cancel()
        answers = list(staying)
    expected: list[Arrays] = [
        models.answers("numbers/2")({"input": number_rows(1)}),
        models.answers("churn/1")(churn_rows(2)),
    ]
    assert [same(decode(a.infer_response), e) for a, e in zip(answers, expected, strict=True)] == [True, True]
    fine(server, models)
