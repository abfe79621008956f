"""Measurements side by side: every contender of a cell runs once in each round, so a disturbance affects all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.bodies import Bodies
from benchmarks.figures import Run, middle, spread
from benchmarks.generator import Generator, Shape
from benchmarks.targets import Target, measure

SHAPES = ALONE, _, USUAL, MOST = (Shape(1, 1), Shape(8, 1), Shape(8, 16), Shape(64, 16))
OWN_IDS, ONE_BODY, BESIDE_BEFORE = "own ids", "one body repeated", "beside another build"
# A client that does not saturate the server, to measure how a neighbour affects its latency.
PACED = Shape(4, 4, 100)


@dataclass(frozen=True)
class Plan:
    """Numbers of rounds and lengths of runs, in seconds."""

    rounds: int
    seconds: float
    warm_s: float
    neighbour_s: float  # longer, since a paced client has few samples
    brief: bool = False  # without the cells of other servers that no promise needs

    def half(self) -> "Plan":
        """Half the rounds, for cells that no promise needs."""
        return replace(self, rounds=max(1, (self.rounds + 1) // 2))


FULL = Plan(rounds=5, seconds=2.0, warm_s=0.5, neighbour_s=8.0)
QUICK = Plan(rounds=1, seconds=1.0, warm_s=0.2, neighbour_s=2.0, brief=True)


@dataclass(frozen=True)
class Cell:
    """One kind of request at one shape of load, for all targets that can answer it."""

    model: str
    rows: int
    shape: Shape
    contenders: Sequence[tuple[Target, Bodies]]
    kind: str = ""
    peers: bool = False

    @property
    def name(self) -> str:
        return cell_name(self.model, self.rows, self.shape, self.kind, peers=self.peers)


def cell_name(model: str, rows: int, shape: Shape, kind: str = "", *, peers: bool = False) -> str:
    """The key of a cell's figures. Runs of other rounds have another key, since ratios are valid within a round only.

    `kind`: what is special about the requests or the contenders.
    """
    special, others = f", {kind}" if kind else "", ", beside other servers" if peers else ""
    return f"{model}, {rows} row{'s' if rows > 1 else ''}{special}, {shape}{others}"


def side_by_side(generator: Generator, cell: Cell, plan: Plan, tell: Callable[[str], None]) -> dict[str, list[Run]]:
    """The runs of each contender, one per round. Raises GeneratorError."""
    for target, bodies in cell.contenders:
        measure(generator, target, bodies, cell.shape, plan.warm_s)
    runs: dict[str, list[Run]] = {target.name: [] for target, _ in cell.contenders}
    for number in range(plan.rounds):
        # The order rotates, because the first finds the caches of the last.
        turned = [*cell.contenders[number % len(cell.contenders) :], *cell.contenders[: number % len(cell.contenders)]]
        for target, bodies in turned:
            runs[target.name].append(measure(generator, target, bodies, cell.shape, plan.seconds))
    told = (
        f"{name} {middle(of, 'rate'):,.0f}/s ±{spread(of):.0%}"
        + (f" and {refused:,} refused" if (refused := sum(run.refused for run in of)) else "")
        for name, of in runs.items()
    )
    tell(f"  {cell.name}: {', '.join(told)}")
    return runs
