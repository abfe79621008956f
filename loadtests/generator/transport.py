"""Transports of requests: unary calls, or one stream, each over its own channel.

Both send without waiting, so that a late answer never delays the next request. Runs on asyncio.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from onnxpress.loadtests.errors import UnreachableError
from onnxpress.protos.inference_pb2 import ModelInferResponse, ModelStreamInferResponse

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
CONNECT_SECONDS = 5.0
SWEEP_SECONDS = 0.05  # between two searches for requests of a stream whose deadline has passed
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # otherwise equal channels share one connection
    ("grpc.enable_retries", 0),  # a retry would hide a failure
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)

Trailers = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Reply:
    """The end of a call: name of the status code, serialized ModelInferResponse (may be empty), trailers, details."""

    code: str
    body: bytes = b""
    trailers: Trailers = ()
    details: str = ""


Done = Callable[[Reply], None]  # called once per request
Begin = Callable[[Coroutine[Any, Any, None]], None]  # runs work until the test ends
EXPIRED_SECONDS = -1.0  # timeout of a call that grpc ends before it sends anything


class Transport(Protocol):
    def send(self, body: bytes, timeout: float, metadata: Trailers, done: Done) -> None:
        """Sends at once; `done` is called with the answer or the failure. `timeout` in seconds."""
        ...


async def connect(target: str) -> grpc.aio.Channel:
    """A ready channel. Raises UnreachableError."""
    channel = grpc.aio.insecure_channel(target, options=OPTIONS)
    try:
        await asyncio.wait_for(channel.channel_ready(), CONNECT_SECONDS)
    except TimeoutError:
        await channel.close(None)
        raise UnreachableError.at(target, CONNECT_SECONDS) from None
    return channel


def end_at_once(channel: grpc.aio.Channel, done: Callable[[], None]) -> None:
    """Makes a call that ends before it is sent; `done` is called when the loop sees that end.

    The end waits in the same queue as answers, behind those that have arrived and have not been seen yet.
    """
    channel.unary_unary(INFER, None, None)(b"", timeout=EXPIRED_SECONDS).add_done_callback(lambda _: done())


class Unary:
    """ModelInfer, one call per request."""

    def __init__(self, channel: grpc.aio.Channel, begin: Begin) -> None:
        self._call = channel.unary_unary(INFER, None, None)
        self._begin = begin

    def send(self, body: bytes, timeout: float, metadata: Trailers, done: Done) -> None:
        self._begin(self._finish(self._call(body, timeout=timeout, metadata=metadata), done))

    @staticmethod
    async def _finish(call: Any, done: Done) -> None:
        try:
            reply = Reply("OK", await call)
        except grpc.aio.AioRpcError as error:
            trailers: Any = error.trailing_metadata() or ()  # pairs; the stubs know it as something else
            reply = Reply(error.code().name, b"", tuple(trailers), error.details() or "")
        done(reply)


@dataclass(frozen=True)
class _Pending:
    expires: float
    done: Done


class Stream:
    """ModelStreamInfer, one stream for all requests of a connection; answers are matched by id."""

    def __init__(self, channel: grpc.aio.Channel, now: Callable[[], float], begin: Begin) -> None:
        self._now = now
        self._call = channel.stream_stream(STREAM, None, None)
        self._pending: dict[str, _Pending] = {}
        self._requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._number = 0
        self._reading = False
        self._begin = begin
        begin(self._sweep())

    def __repr__(self) -> str:
        return f"Stream({len(self._pending)} pending of {self._number})"

    def send(self, body: bytes, timeout: float, metadata: Trailers, done: Done) -> None:
        if not self._reading:
            self._requests = asyncio.Queue()
            call = self._call(self._outgoing(self._requests), metadata=metadata)
            self._reading = True
            self._begin(self._read(call))
        self._number += 1
        id_ = f"{self._number:x}"
        self._pending[id_] = _Pending(self._now() + timeout, done)
        # A serialized field may be appended to a message: field 3, the request's id.
        self._requests.put_nowait(body + b"\x1a" + bytes([len(id_)]) + id_.encode())

    @staticmethod
    async def _outgoing(requests: "asyncio.Queue[bytes | None]") -> AsyncIterator[bytes]:
        while (request := await requests.get()) is not None:
            yield request

    async def _read(self, call: Any) -> None:
        try:
            async for raw in call:
                self._take(raw)
            self._fail_all("UNAVAILABLE", "the server ended the stream")
        except grpc.aio.AioRpcError as error:
            self._fail_all(error.code().name, error.details() or "")
        finally:
            self._requests.put_nowait(None)
            self._reading = False

    def _take(self, raw: bytes) -> None:
        try:
            message = ModelStreamInferResponse.FromString(raw)
        except DecodeError:
            message = ModelStreamInferResponse(error_message="the response is not a ModelStreamInferResponse")
        id_ = message.infer_response.id
        if message.error_message and not id_:
            # An error without a request id belongs to the oldest request.
            id_ = next(iter(self._pending), "")
        pending = self._pending.pop(id_, None)
        if pending is None:
            return  # its deadline has passed, which has been reported
        if message.error_message:
            pending.done(Reply("UNKNOWN", details=message.error_message))
            return
        response: ModelInferResponse = message.infer_response
        response.id = ""
        pending.done(Reply("OK", response.SerializeToString()))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._now()
            for id_ in [id_ for id_, pending in self._pending.items() if pending.expires <= now]:
                self._pending.pop(id_).done(Reply("DEADLINE_EXCEEDED", details="no answer on the stream in time"))

    def _fail_all(self, code: str, details: str) -> None:
        pending, self._pending = self._pending, {}
        for each in pending.values():
            each.done(Reply(code, details=details))
