"""A request on its way from the front to its answer. It carries everything it needs; there is no table of calls."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from onnxpress.server.serving.front import Details, Front, Metadata
from onnxpress.server.serving.tensors import Flat, Signature

TRACE_PARENT = "traceparent"
ROUTE_KEY = "route-key"  # request metadata; the parameter of the same meaning is `route_key`


class Sender(Protocol):
    """What sent a request to its lane: the route, of which requests hold a lease."""

    epoch: int
    held: int


class Parsed:
    """What the bytes of one call say, checked against a signature, whichever lane will answer. Nobody changes it.

    version: empty where the deployment decides. shapes: of each input, only where requests cannot share runs (the
    signature is not batchable). outputs: indices into the signature's outputs, None for all. size: bytes of the
    payload. key: the parameter `route_key`.
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
        self.route = route  # the deployment that decided; None where the caller named the version
        self.variant = variant
        self.rows = parsed.rows
        self.size = parsed.size
        self.front = front
        self.call = call
        self.arrival = arrival
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
        return f"Request({self.parsed.model}, rows={self.rows}, taken={self.taken})"


class UniformBatch:
    """Calls that came together and are alike but for their ids and rows: one header, all outputs, one tensor each.

    What requests carry is here once for all of them, since making an object for each costs more than answering it. It
    runs at once or not at all: calls that must wait, and so may be cancelled, expire or be split, are Requests.
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
        self.rows = rows  # of each
        self.tensors = tensors
        self.size = size  # bytes of all payloads
        self.ids = ids  # as protobuf writes them, length first; None where they have none
        # Set by the pump that received them; the time is in monotonic nanoseconds.
        self.front: Front
        self.calls: Sequence[Any]
        self.details: Sequence[Details | None]
        self.arrival: int
        self.route: Sender | None = None
        self.variant = ""

    def select(self, places: Sequence[int]) -> "UniformBatch":
        """Some of the calls, by their places."""
        size = self.size * len(places) // len(self.calls)
        ids = [self.ids[place] for place in places] if self.ids is not None else None
        tensors = [self.tensors[place] for place in places]
        chosen = UniformBatch(self.model, self.version, self.signature, self.rows, tensors, size, ids)
        chosen.front, chosen.arrival = self.front, self.arrival
        chosen.calls = [self.calls[place] for place in places]
        chosen.details = [self.details[place] for place in places]
        return chosen

    def requests(self) -> list[Request]:
        """Each for itself."""
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
    """What keeps a caller on one version: the metadata, else the request's parameter; empty where there is neither."""
    return _first(metadata, ROUTE_KEY) or parsed_key


def trace_parent(metadata: Metadata) -> str:
    """The caller's `traceparent`, as W3C Trace Context defines it; empty where there is none."""
    return _first(metadata, TRACE_PARENT)


def _first(metadata: Metadata, wanted: str) -> str:
    for name, value in metadata:
        if name == wanted:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return ""
