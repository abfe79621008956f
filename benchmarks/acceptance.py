"""The promises about speed, with what was measured for each. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Run, rate_ratio
from benchmarks.generator import Shape
from benchmarks.rounds import ALONE, MOST, ONE_BODY, OWN_IDS, PACED, USUAL, cell_name

Cells = Mapping[str, Mapping[str, Sequence[Run]]]
OURS = "onnxpress"


@dataclass(frozen=True)
class Promise:
    """measured: None when its part did not run. at_most: the limit is an upper one."""

    text: str
    measured: float | None
    limit: float
    unit: str = "x"
    at_most: bool = False

    @property
    def kept(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    @property
    def verdict(self) -> str:
        return {True: "ok", False: "NOT REACHED", None: "not measured"}[self.kept]


def promises(cells: Cells, figures: Mapping[str, float]) -> list[Promise]:
    """Every promise about speed, in the order of the acceptance list."""

    def against(other: str, shape: Shape, kind: str = "", model: str = "light") -> float | None:
        cell = cells.get(cell_name(model, 1, shape, kind, peers=other != "echo"), {})
        return rate_ratio(cell, OURS, other) if other in cell and OURS in cell else None

    def ids(shape: Shape) -> float | None:
        own, none = against("echo", shape, OWN_IDS), against("echo", shape)
        return own / none if own is not None and none is not None else None

    get = figures.get
    return [
        Promise("served / echo, 8x16", against("echo", USUAL), 0.80),
        Promise("served / echo, 1x1", against("echo", ALONE), 0.60),
        Promise("served / echo, 8x16, one body repeated", against("echo", USUAL, ONE_BODY), 0.80),
        Promise("served / echo, 1x1, one body repeated", against("echo", ALONE, ONE_BODY), 0.60),
        Promise("the same with own ids / without, 8x16", ids(USUAL), 0.90),
        Promise("the same with own ids / without, 1x1", ids(ALONE), 0.90),
        Promise("churn pipeline / what echo and its own run time allow", get("churn_of_bound"), 0.50),
        Promise("served / Triton, same model", against("triton", USUAL), 5.0),
        Promise("served / Triton, heavy model", against("triton", USUAL, model="heavy"), 4.0),
        Promise("served / Triton's front without inference", against("triton front", USUAL), 1.5),
        Promise("served / MLServer at its best settings", against("mlserver", USUAL), 50.0),
        Promise("batching: CPU of heavy single rows / bare loop, 64x16", get(f"batching 1 {MOST}"), 1.5, at_most=True),
        Promise("batching: CPU of heavy single rows / bare loop, 8x16", get(f"batching 1 {USUAL}"), 1.5, at_most=True),
        Promise(
            "batching: CPU of a heavy row, 8 rows a call / bare loop",
            get(f"batching 8 {USUAL}"), 0.75, at_most=True,
        ),
        Promise(
            "batching: CPU of a heavy row, 100 rows a call / bare loop",
            get(f"batching 100 {USUAL}"), 0.5, at_most=True,
        ),
        Promise(
            "light p99 beside saturated heavy / alone, paced client",
            get(f"light_p99_beside_heavy {PACED}"), 3.0, at_most=True,
        ),
        Promise(
            "light p99 beside saturated heavy / alone, saturating client",
            get(f"light_p99_beside_heavy {USUAL}"), 3.0, at_most=True,
        ),
        Promise("light p99 moved by 10,000 rows a second", get("p99_ms_beside_huge light"), 25.0, "ms", at_most=True),
        Promise("heavy p99 moved by 10,000 rows a second", get("p99_ms_beside_huge heavy"), 25.0, "ms", at_most=True),
        Promise("metrics: share of CPU, 8x16", get(f"metrics_share {USUAL}"), 0.10, at_most=True),
    ]  # fmt: skip
