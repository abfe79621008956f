"""Binds the calls that a pump has received to the lanes that answer them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from onnxpress.server.serving.front import Details, Event, Front
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.request import Parsed, Request, UniformBatch, route_key
from onnxpress.server.serving.routing import NAMED, Route, Routes, Target
from onnxpress.server.serving.tensors import Signature

SECOND_NS = 1_000_000_000


class Header(Protocol):
    """The part of a request that decides which lane answers it."""

    @property
    def model(self) -> str: ...

    @property
    def version(self) -> str:
        """Empty if the client named none and the deployment decides."""
        ...

    @property
    def key(self) -> str:
        """The parameter `route_key`, or empty."""
        ...


class Decoder(Protocol):
    """Decodes requests; implemented in wire/codec.py. Raises OnnxpressErrors that name what is wrong."""

    def open(self, payload: bytes) -> Header:
        """The header; if it is known, a Parsed: the request, checked against the signature it was learned with."""
        ...

    def decode(self, payload: bytes, header: Header, signature: Signature) -> Parsed:
        """The request, checked against `signature`; `header` is the result of `open`."""
        ...

    def uniform(self, payloads: Sequence[bytes]) -> Iterator[UniformBatch]:
        """All payloads as one uniform batch, once for each signature that their header is known with."""
        ...


class Group(NamedTuple):
    """Calls with one target as a uniform batch, and the indices of their events."""

    lane: Lane
    uniform: UniformBatch
    events: Sequence[int]

    @property
    def checked(self) -> bool:
        """Whether nothing is left to check before the lane runs the calls."""
        return self.lane.signature is self.uniform.signature and not self.lane.contract.columns


class Refused(NamedTuple):
    """A call that is not queued. lane, variant, epoch, key: whom it was bound to; lane None: it was bound to none."""

    call: Any
    error: Exception
    lane: Lane | None = None
    variant: str = ""
    epoch: int = 0
    key: str = ""


class Binder:
    """Binds calls to lanes; has no mutable state.

    The `draws` of every method are random numbers in [0, 1), one for each event. The list is filled here if it is
    needed and empty, so that a call that is bound again gets the same target.
    """

    def __init__(self, decoder: Decoder, draw: Callable[[], float]) -> None:
        self._decoder = decoder
        self._draw = draw

    def together(
        self, front: Front, events: list[Event], routes: Routes, now: int, draws: list[float]
    ) -> list[Group] | None:
        """The events as uniform batches, one for each target, the largest first; None if they form none."""
        if not events:
            return None
        kinds, calls, _, payloads, _, details = zip(*events, strict=True)
        if any(kinds):
            return None  # a cancellation
        for uniform in self._decoder.uniform(payloads):
            uniform.front, uniform.calls, uniform.details, uniform.arrival = front, calls, details, now
            route = routes.models.get(uniform.model)
            if route is None:
                return None
            groups = self._grouped(uniform, route, draws)
            # The header may be known with several signatures: only that of the bound version counts.
            if groups and groups[0].lane.signature is uniform.signature:
                return groups if groups[0].checked else None
        return None

    def _grouped(self, uniform: UniformBatch, route: Route, draws: list[float]) -> list[Group]:
        """The calls by their target, the largest group first; empty if a call has none."""
        if uniform.version:
            lane = route.lanes.get(uniform.version)
            uniform.variant = NAMED
            return [Group(lane, uniform, range(len(uniform.calls)))] if lane is not None else []
        if route.live is None:
            return []
        if route.only is not None:
            uniform.route, uniform.variant = route, route.only.variant
            return [Group(route.only.lane, uniform, range(len(uniform.calls)))]
        self._fill(draws, len(uniform.calls))
        chosen: dict[Target, list[int]] = {}
        for number, details in enumerate(uniform.details):
            target = route.choose(route_key(details[0]) if details is not None else "", draws[number])
            chosen.setdefault(target, []).append(number)
        groups = []
        for target in sorted(chosen, key=lambda one: -len(chosen[one])):
            numbers = chosen[target]
            part = uniform.select(numbers) if len(chosen) > 1 else uniform
            part.route, part.variant = route, target.variant
            groups.append(Group(target.lane, part, numbers))
        return groups

    def requests(
        self, front: Front, events: list[Event], routes: Routes, now: int, draws: list[float]
    ) -> tuple[dict[Lane, list[Request]], list[Refused]]:
        """Requests by the lane that will answer them, and the calls that no lane can answer."""
        choose = self._choose
        bound: dict[Lane, list[Request]] = {}
        refused: list[Refused] = []
        number = -1
        for _, call, _, payload, _, details in events:
            number += 1
            if payload is None:
                continue  # a cancellation
            try:
                target, route, header = choose(payload, details, routes, number, draws)
            except Exception as error:  # noqa: BLE001 -- each call is refused with its own error
                refused.append(Refused(call, error))
                continue
            try:
                parsed = self._decoded(payload, header, target.lane)
            except Exception as error:  # noqa: BLE001 -- what one version refuses, another may answer
                key = route_key(details[0] if details is not None else (), header.key)
                epoch = route.epoch if route is not None else 0
                refused.append(Refused(call, error, target.lane, target.variant, epoch, key))
                continue
            request = Request(parsed, route, target.variant, front, call, now)
            if details is not None:
                request.metadata, _, left_s = details
                if left_s is not None:
                    request.deadline = now + int(left_s * SECOND_NS)
            group = bound.get(target.lane)
            if group is None:
                bound[target.lane] = [request]
            else:
                group.append(request)
        return bound, refused

    def _choose(
        self, payload: bytes, details: Details | None, routes: Routes, number: int, draws: list[float]
    ) -> tuple[Target, Route | None, Header]:
        """The target, the route that chose it (None if the client named the version), and the request's header."""
        header = self._decoder.open(payload)
        route = routes.route(header.model)
        target = route.only
        if header.version:
            target = route.named(header.version)
        elif target is None:
            self._fill(draws, number + 1)
            target = route.choose(route_key(details[0] if details is not None else (), header.key), draws[number])
        return target, None if header.version else route, header

    def _decoded(self, payload: bytes, header: Header, lane: Lane) -> Parsed:
        """The request, checked against the lane's signature and its model's data contract."""
        if type(header) is Parsed and header.signature is lane.signature:
            parsed = header
        else:
            parsed = self._decoder.decode(payload, header, lane.signature)
        if lane.contract.columns:
            lane.contract.check(parsed.tensors)
        return parsed

    def _fill(self, draws: list[float], count: int) -> None:
        while len(draws) < count:
            draws.append(self._draw())
