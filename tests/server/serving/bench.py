"""A pump between a fake front and a fake session, for tests of what happens to requests."""

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.facts import BatchRun, Observer, Refusal
from onnxpress.server.serving.admission import Admission
from onnxpress.server.serving.contract import Contract
from onnxpress.server.serving.cost import CostModel
from onnxpress.server.serving.front import CALL, CANCEL, Event, Metadata
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.pump import Pump
from onnxpress.server.serving.request import Parsed, Request, UniformBatch
from onnxpress.server.serving.routing import Route
from onnxpress.server.serving.runtime import RunError
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.serving.tensors import ANY, Signature, TensorSpec, interned

ROWS_MAX = 8
BAD = 666.0


SIGNATURE = interned(Signature((TensorSpec("x", "FP32", (ANY, 1)),), (TensorSpec("y", "FP32", (ANY, 1)),)))


class FakeSession:
    """Answers each row with its double, and remembers every row that it was given."""

    signature = SIGNATURE

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.short = 0  # rows that it keeps to itself
        self.meanwhile: Callable[[], object] = lambda: None

    def run(self, feeds: Mapping[str, NDArray[Any]], rows: int = 0) -> Sequence[NDArray[Any]]:
        rows = feeds["x"][:, 0].tolist()
        self.batches.append(rows)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if BAD in rows:
            raise RunError("a row of evil")
        return [feeds["x"][: len(rows) - self.short] * 2]


class FakeCodec:
    """A payload is its rows as float32; `!` cannot be read. `alike`: those of equal length are a uniform batch.

    `meanwhile` is called once, after something was read.
    """

    def __init__(self, *, alike: bool = False) -> None:
        self._alike = alike
        self.models: dict[bytes, str] = {}  # payload -> model, where it is not "m"
        self.meanwhile: Callable[[], object] = lambda: None

    def open(self, payload: bytes) -> Parsed:
        if payload == b"!":
            raise InvalidRequestError("unreadable")
        if payload == b"bug":
            raise ZeroDivisionError
        self._read()
        return Parsed(
            self.models.get(payload, "m"), "", SIGNATURE, len(payload) // 4, [payload], len(payload), None, None, ""
        )

    def decode(self, *_: object) -> Parsed:
        raise NotImplementedError

    def uniform(self, payloads: Sequence[bytes]) -> Iterator[UniformBatch]:
        size = len(payloads[0])
        if self._alike and not {b"!", b"bug"} & {*payloads} and {*map(len, payloads)} == {size}:
            self._read()
            yield UniformBatch("m", "", SIGNATURE, size // 4, payloads, size * len(payloads), None)

    def _read(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()

    def encode_uniform(self, lane: Lane, uniform: UniformBatch, outputs: Sequence[Any]) -> Iterable[bytes]:
        return self.encode(lane, uniform.requests(), outputs)

    def encode(self, _lane: Lane, requests: Sequence[Request], outputs: Sequence[Any]) -> Iterable[bytes]:
        at = 0
        for request in requests:
            yield bytes(outputs[0][at : at + 4 * request.rows])
            at += 4 * request.rows

    def encode_shaped(self, *_: object) -> bytes:
        raise NotImplementedError


class FakeFront:
    """Remembers what each call was told: rows, or the error."""

    refuses = False

    def __init__(self) -> None:
        self.told: dict[int, Any] = {}

    def receive(self, _most: int) -> list[Event] | None:
        return None

    def answer(self, call: int, payload: bytes) -> bool:
        assert call not in self.told, "answered twice"
        self.told[call] = list(struct.unpack(f"<{len(payload) // 4}f", payload))
        return True

    def fail(self, call: int, error: BaseException) -> str:
        assert call not in self.told, "answered twice"
        self.told[call] = error
        return type(error).__name__


class FakeObserver:
    """Remembers what it was told, as it is: nothing is copied."""

    def __init__(self) -> None:
        self.runs: list[BatchRun] = []
        self.refusals: list[Refusal] = []
        self.deaths: list[str] = []

    def run_done(self, run: BatchRun) -> None:
        self.runs.append(run)

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def codes(self) -> dict[str, int]:
        """How many calls were refused, by code."""
        codes: Counter[str] = Counter()
        for refusal in self.refusals:
            codes[refusal.code] += refusal.calls
        return dict(codes)


class Bench:
    """One lane of at most eight rows a batch, and one run slot unless told otherwise."""

    def __init__(
        self,
        rows_max: int = 1_000,
        *,
        alike: bool = False,
        slots: int = 1,
        door: Admission | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`door`: what the pump asks for admission, where it is not what the scheduler asks too.

        `observer`: told instead of `self.observer`.
        """
        self.session, self.front, self.observer = FakeSession(), FakeFront(), FakeObserver()
        self.codec = FakeCodec(alike=alike)
        admission = Admission(slots, 1e9, rows_max, 10**9)
        self.scheduler = Scheduler(slots, admission)
        cost = CostModel({1: 1.0}, 1e9)
        cost.batch_rows = cost.unsplit_rows_max = ROWS_MAX
        self.lane = Lane("m", 1, self.session, "", Contract(), cost)  # type: ignore[arg-type]
        self.route = Route("m", 1, self.lane, {"1": self.lane}, {})
        self.scheduler.replace_route(self.route)
        self.pump = Pump(self.codec, self.scheduler, observer or self.observer, door or admission)

    def handle(self, *events: Event) -> dict[int, Any]:
        self.pump.handle(self.front, list(events))
        return self.front.told

    def settled(self) -> bool:
        """Every lease and every count is back."""
        return (self.lane.held, self.route.held, self.lane.running, self.lane.queue.rows, self.lane.queue.bytes) == (
            0, 0, 0, 0, 0,
        )  # fmt: skip


def call(number: int, *rows: float, left_s: float | None = None, metadata: Metadata = ()) -> Event:
    return CALL, number, 0, struct.pack(f"<{len(rows)}f", *rows), None, (metadata, "peer", left_s)


def cancel(number: int) -> Event:
    return CANCEL, number, 0, None, None, None
