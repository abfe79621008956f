"""Reports of the data plane, as a rollout's collector gets them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxpress.server.facts import BatchRun, Columns, Refusal
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import CANARY, CHAMPION

MS = 1_000_000


@dataclass(frozen=True)
class Calls:
    """Calls of one row each, by variant and route key."""

    chosen: list[str]
    keys: list[str] = field(default_factory=list)

    def arrivals(self) -> list[int]:
        return [0] * len(self.chosen)

    def variants(self) -> list[str]:
        return self.chosen

    def columns(self) -> Columns:
        count, blank = len(self.chosen), [""] * len(self.chosen)
        keys = self.keys or blank
        return Columns(
            [0] * count, [1] * count, [0] * count, ["OK"] * count, blank, keys, blank, [1] * count, self.chosen
        )


def ran(lane: Lane, variants: list[str], outputs: list[Any], inputs: dict[str, Any], **more: Any) -> BatchRun:
    """A run of one row per call; `ms`: how long it took; `keys`: the route keys."""
    finished = int(more.get("ms", 1) * MS)
    calls = Calls(variants, more.get("keys", []))
    return BatchRun(lane.id, calls, len(variants), inputs, outputs, 0, 0, finished, finished)


def sums(lane: Lane, count: int, variant: str | None = None, **more: Any) -> BatchRun:
    """A run of a model of control_plane.py, which adds its version to the input."""
    x = np.linspace(0, 100, count, dtype=np.float32).reshape(-1, 1)
    y = more.pop("y", x + int(lane.version))
    chosen = variant or (CHAMPION if lane.version == "1" else CANARY)
    return ran(lane, [chosen] * count, [np.asarray(y, np.float32).tobytes()], {"x": x}, **more)


def refusal(variant: str, code: str, key: str = "", model: str = "churn") -> Refusal:
    return Refusal(model, "1" if variant == CHAMPION else "2", variant, 2, code, 1, key)
