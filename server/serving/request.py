"""A request on its way from the front to its answer. It carries everything it needs; there is no table of calls."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from onnxpress.server.serving.lane import Lane
    from onnxpress.server.serving.routing import Route, Routes

# (kind, call, method, payload, client key, details): what a front's `receive` gives; details is
# (metadata, peer, seconds left before the deadline or None).
Event = tuple[int, Any, int, bytes | None, Any, tuple[Any, str, float | None] | None]
CALL = 0
CANCEL = 1
Metadata = Sequence[tuple[str, str | bytes]]
# One input of a request, flat and row-major: bytes, or for BYTES a list of str.
Flat = Any


class Front(Protocol):
    """What speaks HTTP/2. Every method may be called from any thread."""

    @property
    def refuses(self) -> bool:
        """Whether the pumps refuse the calls that they receive from now on."""
        ...

    def receive(self, most: int) -> list[Event] | None:
        """Up to `most` events that wait, or blocks until there is one; None once the front is closed."""
        ...

    def answer(self, call: Any, payload: bytes) -> bool:
        """False when the caller has left."""
        ...

    def fail(self, call: Any, error: BaseException) -> str:
        """Ends the call with the status that `error` stands for; returns the status' name."""
        ...


class Request:
    """Rows of one call, bound to the version that will answer them.

    shapes: of each input, only where the version cannot share runs (its signature is not batchable).
    outputs: indices into the signature's outputs, None for all.
    """

    __slots__ = (
        "arrival",
        "call",
        "deadline",
        "front",
        "id",
        "lane",
        "metadata",
        "outputs",
        "parts",
        "route",
        "rows",
        "shapes",
        "size",
        "taken",
        "tensors",
        "urgent",
    )

    def __init__(
        self,
        lane: "Lane",
        route: "Route | None",
        rows: int,
        tensors: Sequence[Flat],
        size: int,
        shapes: Sequence[Sequence[int]] | None,
        outputs: tuple[int, ...] | None,
        id_: str,
    ) -> None:
        self.lane = lane
        self.route = route  # the deployment that decided; None where the caller named the version
        self.rows = rows
        self.tensors = tensors
        self.size = size  # bytes of the payload
        self.shapes = shapes
        self.outputs = outputs
        self.id = id_
        # Set by the pump that received it; times are monotonic nanoseconds.
        self.front: Front
        self.call: Any
        self.arrival: int
        self.deadline = 0  # none
        self.metadata: Metadata = ()
        self.urgent = False  # goes before others of its lane; set by Admission
        self.taken = 0  # rows already given to a batch
        self.parts: list[list[Flat]] = []  # outputs of earlier batches, where the request is split

    def joined(self) -> list[Flat]:
        """The outputs of all rows, once the last part has run."""
        columns = zip(*self.parts, strict=True)
        return [
            list(chain.from_iterable(flats)) if isinstance(flats[0], list) else b"".join(flats) for flats in columns
        ]

    def __repr__(self) -> str:
        return f"Request({self.lane!r}, rows={self.rows}, taken={self.taken})"


class Bunch:
    """Calls that came together and are alike but for their ids and rows: one lane, all outputs, one tensor each.

    What requests carry is here once for all of them, since making an object for each costs more than answering it. A
    bunch runs at once or not at all: calls that must wait, and so may be cancelled, expire or be split, are Requests.
    """

    __slots__ = ("arrival", "calls", "front", "ids", "lane", "route", "rows", "size", "tensors")

    def __init__(
        self,
        lane: "Lane",
        route: "Route | None",
        rows: int,
        tensors: Sequence[bytes],
        size: int,
        ids: Sequence[bytes] | None,
    ) -> None:
        self.lane = lane
        self.route = route
        self.rows = rows  # of each
        self.tensors = tensors
        self.size = size  # bytes of all payloads
        self.ids = ids  # as protobuf writes them, length first; None where they have none
        # Set by the pump that received them; the time is in monotonic nanoseconds.
        self.front: Front
        self.calls: Sequence[Any]
        self.arrival: int

    def requests(self) -> list[Request]:
        """Each for itself."""
        made = []
        for number, (call, tensor) in enumerate(zip(self.calls, self.tensors, strict=True)):
            id_ = self.ids[number][1:].decode() if self.ids is not None else ""
            size = self.size // len(self.calls)
            request = Request(self.lane, self.route, self.rows, (tensor,), size, None, None, id_)
            request.front, request.call, request.arrival = self.front, call, self.arrival
            made.append(request)
        return made


class Codec(Protocol):
    """How requests and answers are written; see wire/codec.py."""

    def decode(self, payload: bytes, routes: "Routes") -> Request:
        """Raises an OnnxpressError that says what is wrong with the request."""
        ...

    def bunch(self, payloads: Sequence[bytes], routes: "Routes") -> Bunch | None:
        """What `decode` would make of all of them, in one object; None where they are not that much alike."""
        ...

    def encode(self, requests: Sequence[Request], outputs: Sequence[Flat]) -> Iterable[bytes]:
        """The answers of requests whose rows follow each other in the flat outputs of one batch."""
        ...

    def encode_bunch(self, bunch: Bunch, outputs: Sequence[Flat]) -> Iterable[bytes]:
        """The answers to the calls of a bunch, in their order."""
        ...

    def encode_shaped(self, request: Request, outputs: Sequence[Flat], shapes: Sequence[Sequence[int]]) -> bytes:
        """The answer of a version that is not batchable: whole outputs in the shapes that they have."""
        ...
