"""Requests from the front to their answer. Each carries its own call and answer parts; there is no table of calls."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from onnxpress.server.serving.front import Details, Front, Metadata
from onnxpress.server.serving.tensors import Flat, Signature

TRACE_PARENT = "traceparent"
ROUTE_KEY = "route-key"  # request metadata; the equivalent request parameter is `route_key`


class Sender(Protocol):
    """The route that sent a request to its lane; the request holds a lease on it."""

    epoch: int
    held: int


class Parsed:
    """A decoded request, checked against a signature and not yet bound to a lane. Immutable by convention.

    version: empty if the client named none. shapes: of each input; None if the signature is batchable. outputs: indices
    into the signature's outputs, None for all. size: bytes of the payload. key: the parameter `route_key`.
    """

    __slots__ = ("id", "key", "model", "outputs", "rows", "shapes", "signature", "size", "tensors", "version")

    def __init__(
        self,
        model: str,
        version: str,
        signature: Signature,
        rows: int,
        tensors: Sequence[Flat],
        size: int,
        shapes: Sequence[Sequence[int]] | None,
        outputs: tuple[int, ...] | None,
        id_: str,
        key: str = "",
    ) -> None:
        self.model = model
        self.version = version
        self.signature = signature
        self.rows = rows
        self.tensors = tensors
        self.size = size
        self.shapes = shapes
        self.outputs = outputs
        self.id = id_
        self.key = key


class Request:
    """Rows of one call, bound to the version that will answer them. Times are monotonic nanoseconds."""

    __slots__ = (
        "arrival",
        "call",
        "deadline",
        "front",
        "metadata",
        "parsed",
        "parts",
        "route",
        "rows",
        "size",
        "taken",
        "urgent",
        "variant",
    )

    def __init__(
        self, parsed: Parsed, route: Sender | None, variant: str, front: Front, call: Any, arrival: int
    ) -> None:
        self.parsed = parsed
        self.route = route  # the route that chose the lane; None if the client named the version
        self.variant = variant
        self.rows = parsed.rows
        self.size = parsed.size
        self.front = front
        self.call = call
        self.arrival = arrival
        self.deadline = 0  # 0: none
        self.metadata: Metadata = ()
        self.urgent = False  # goes before others in its queue; set by Admission
        self.taken = 0  # rows already given to a batch
        self.parts: list[list[Flat]] = []  # outputs of the parts that have run, if the request is split

    def joined(self) -> list[Flat]:
        """The outputs of all parts joined, after the last part has run."""
        columns = zip(*self.parts, strict=True)
        return [
            list(chain.from_iterable(flats)) if isinstance(flats[0], list) else b"".join(flats) for flats in columns
        ]

    def __repr__(self) -> str:
        return f"Request({self.parsed.model}, rows={self.rows}, taken={self.taken})"


class UniformBatch:
    """Calls that were received together and differ in ids and values only: one header, one tensor each, all outputs.

    It replaces one Request per call, since building a Request costs more than answering one. It either runs at once or
    is dropped: calls that must wait, and so may be cancelled, expire or be split, become Requests.
    """

    __slots__ = (
        "arrival",
        "calls",
        "details",
        "front",
        "ids",
        "model",
        "route",
        "rows",
        "signature",
        "size",
        "tensors",
        "variant",
        "version",
    )

    def __init__(
        self,
        model: str,
        version: str,
        signature: Signature,
        rows: int,
        tensors: Sequence[bytes],
        size: int,
        ids: Sequence[bytes] | None,
    ) -> None:
        self.model = model
        self.version = version
        self.signature = signature
        self.rows = rows  # of each call
        self.tensors = tensors
        self.size = size  # bytes of all payloads
        self.ids = ids  # encoded, with the length before each; None if the calls have no ids
        # Set by the pump that received the calls; the time is in monotonic nanoseconds.
        self.front: Front
        self.calls: Sequence[Any]
        self.details: Sequence[Details | None]
        self.arrival: int
        self.route: Sender | None = None
        self.variant = ""

    def select(self, places: Sequence[int]) -> "UniformBatch":
        """A uniform batch of some of the calls, given by their indices."""
        size = self.size * len(places) // len(self.calls)
        ids = [self.ids[place] for place in places] if self.ids is not None else None
        tensors = [self.tensors[place] for place in places]
        chosen = UniformBatch(self.model, self.version, self.signature, self.rows, tensors, size, ids)
        chosen.front, chosen.arrival = self.front, self.arrival
        chosen.calls = [self.calls[place] for place in places]
        chosen.details = [self.details[place] for place in places]
        return chosen

    def requests(self) -> list[Request]:
        """One Request for each call."""
        made = []
        for number, (call, tensor, details) in enumerate(zip(self.calls, self.tensors, self.details, strict=True)):
            id_ = self.ids[number][1:].decode() if self.ids is not None else ""
            size = self.size // len(self.calls)
            parsed = Parsed(self.model, self.version, self.signature, self.rows, (tensor,), size, None, None, id_)
            request = Request(parsed, self.route, self.variant, self.front, call, self.arrival)
            if details is not None:
                request.metadata = details[0]
            made.append(request)
        return made


def route_key(metadata: Metadata, parsed_key: str = "") -> str:
    """The key that keeps a caller on one version: from the metadata, else the parameter, else empty."""
    return _first(metadata, ROUTE_KEY) or parsed_key


def trace_parent(metadata: Metadata) -> str:
    """The caller's `traceparent`, as W3C Trace Context defines it; empty where there is none."""
    return _first(metadata, TRACE_PARENT)


def _first(metadata: Metadata, wanted: str) -> str:
    for name, value in metadata:
        if name == wanted:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return ""
