"""How a request reaches the server: unary calls or one stream, each over a channel of its own.

Both send without waiting, so that no answer, however late, delays the next request. Runs on gevent: `start_gevent`
comes before the first channel of a process.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import gevent
import grpc
import grpc.experimental.gevent as grpc_gevent  # type: ignore[import-not-found]
from gevent.queue import Queue
from google.protobuf.message import DecodeError

from loadtests.errors import UnreachableError
from protos.inference_pb2 import ModelInferResponse, ModelStreamInferResponse

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
CONNECT_SECONDS = 5.0
SWEEP_SECONDS = 0.05  # how often a stream looks for requests whose deadline has passed
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, not one shared by equal channels
    ("grpc.enable_retries", 0),  # a retry would hide a failure
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)

Trailers = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Reply:
    """What came back: the status code's name, a serialized ModelInferResponse or nothing, trailers and details."""

    code: str
    body: bytes = b""
    trailers: Trailers = ()
    details: str = ""


Done = Callable[[Reply], None]  # called once per request
EXPIRED_SECONDS = -1.0  # the timeout of a call that grpc ends before it has sent anything


class Transport(Protocol):
    def send(self, body: bytes, timeout: float, metadata: Trailers, done: Done) -> None:
        """Sends at once; `done` is called when the answer or the failure is in hand. `timeout` in seconds."""
        ...

    def close(self) -> None: ...


def start_gevent(channels: int) -> None:
    """Makes grpc cooperate with gevent; every channel with calls in flight holds one thread of gevent's pool.

    gevent's pool has ten threads by default: the eleventh channel would wait for the others' answers, and a stalled
    server would stall its own load.
    """
    grpc_gevent.init_gevent()
    pool = gevent.get_hub().threadpool
    pool.maxsize = max(pool.maxsize, 2 * channels + 10)


def connect(target: str) -> grpc.Channel:
    """A ready channel. Raises UnreachableError."""
    channel = grpc.insecure_channel(target, options=OPTIONS)
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        channel.close()
        raise UnreachableError(f"no gRPC server answers at {target} within {CONNECT_SECONDS:g} s") from None
    return channel


def end_at_once(channel: grpc.Channel, done: Callable[[], None]) -> None:
    """A call that is over before it is sent; `done` is called when that is seen, which is when an answer would be.

    Its end queues where the channel's answers queue, behind those that have come and nobody has seen yet.
    """
    call = channel.unary_unary(INFER, None, None).future(b"", timeout=EXPIRED_SECONDS)
    call.add_done_callback(lambda _: done())


class Unary:
    """ModelInfer, one call per request."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._call = channel.unary_unary(INFER, None, None)

    def send(self, body: bytes, timeout: float, metadata: Trailers, done: Done) -> None:
        call = self._call.future(body, timeout=timeout, metadata=metadata)
        call.add_done_callback(partial(self._finish, done))

    @staticmethod
    def _finish(done: Done, call: Any) -> None:
        code = call.code()
        if code is grpc.StatusCode.OK:
            done(Reply("OK", call.result()))
        else:
            done(Reply(code.name, b"", tuple(call.trailing_metadata() or ()), call.details() or ""))

    def close(self) -> None:
        self._channel.close()


@dataclass(frozen=True)
class _Pending:
    expires: float
    done: Done


class Stream:
    """ModelStreamInfer, one stream for all requests of a connection; answers are matched by id."""

    def __init__(self, channel: grpc.Channel, now: Callable[[], float]) -> None:
        self._channel = channel
        self._now = now
        self._call = channel.stream_stream(STREAM, None, None)
        self._pending: dict[str, _Pending] = {}
        self._requests: Queue[bytes | None] = Queue()
        self._number = 0
        self._reader: gevent.Greenlet | None = None
        self._sweeper = gevent.spawn(self._sweep)

    def __repr__(self) -> str:
        return f"Stream({len(self._pending)} pending of {self._number})"

    def send(self, body: bytes, timeout: float, metadata: Trailers, done: Done) -> None:
        if self._reader is None:
            self._requests = Queue()
            self._reader = gevent.spawn(self._read, self._call(self._outgoing(self._requests), metadata=metadata))
        self._number += 1
        id_ = f"{self._number:x}"
        self._pending[id_] = _Pending(self._now() + timeout, done)
        # A serialized field may be appended to a message: field 3, the request's id.
        self._requests.put(body + b"\x1a" + bytes([len(id_)]) + id_.encode())

    @staticmethod
    def _outgoing(requests: "Queue[bytes | None]") -> Iterator[bytes]:
        while (request := requests.get()) is not None:
            yield request

    def _read(self, call: Any) -> None:
        try:
            for raw in call:
                self._take(raw)
            self._fail_all("UNAVAILABLE", "the server ended the stream")
        except grpc.RpcError as error:
            self._fail_all(error.code().name, error.details() or "")
        finally:
            self._requests.put(None)
            self._reader = None

    def _take(self, raw: bytes) -> None:
        try:
            message = ModelStreamInferResponse.FromString(raw)
        except DecodeError:
            message = ModelStreamInferResponse(error_message="the response is not a ModelStreamInferResponse")
        id_ = message.infer_response.id
        if message.error_message and not id_:
            # An error that names no request is that of the oldest one.
            id_ = next(iter(self._pending), "")
        pending = self._pending.pop(id_, None)
        if pending is None:
            return  # its deadline has passed, and it was told so
        if message.error_message:
            pending.done(Reply("UNKNOWN", details=message.error_message))
            return
        response: ModelInferResponse = message.infer_response
        response.id = ""
        pending.done(Reply("OK", response.SerializeToString()))

    def _sweep(self) -> None:
        while True:
            gevent.sleep(SWEEP_SECONDS)
            now = self._now()
            for id_ in [id_ for id_, pending in self._pending.items() if pending.expires <= now]:
                self._pending.pop(id_).done(Reply("DEADLINE_EXCEEDED", details="no answer on the stream in time"))

    def _fail_all(self, code: str, details: str) -> None:
        pending, self._pending = self._pending, {}
        for each in pending.values():
            each.done(Reply(code, details=details))

    def close(self) -> None:
        self._sweeper.kill()
        if self._reader is not None:
            self._requests.put(None)
        self._channel.close()
