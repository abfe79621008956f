"""The parts of a benchmark. Each starts the servers that it needs, adds its figures and stops them."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks import bodies, neighbours, peers, watching
from benchmarks.bare import Bare
from benchmarks.bodies import Bodies
from benchmarks.figures import Run, middle, ratio
from benchmarks.generator import Generator, GeneratorError, Shape
from benchmarks.packages import CHURN, HEAVY, LIGHT, Packages
from benchmarks.rounds import (
    ALONE,
    BESIDE_BEFORE,
    MOST,
    ONE_BODY,
    OWN_IDS,
    PACED,
    SHAPES,
    USUAL,
    Cell,
    Plan,
    cell_name,
    side_by_side,
)
from benchmarks.targets import Echo, Served, Target, measure
from examples.churn import calls, train

MILLION = 1_000_000
ABSENT = "absent"


@dataclass
class Results:
    """cells: runs by cell and target. figures: single numbers. notes: for the reader."""

    cells: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """The arguments of every part."""

    folder: Path
    packages: Packages
    generator: Generator
    plan: Plan
    results: Results
    tell: Callable[[str], None]
    before: Path | None = None  # the `onnxpress` command of another environment, to compare with

    def served(self) -> Served:
        return Served(self.folder, self.packages.repository)

    def numeric(self, model: str, rows: int, *, ids: bool = False) -> Bodies:
        return bodies.numeric(self.folder / "bodies", model, rows, ids=ids)

    def run(self, cell: Cell, plan: Plan | None = None) -> dict[str, list[Run]]:
        runs = side_by_side(self.generator, cell, plan or self.plan, self.tell)
        self.results.cells[cell.name] = runs
        return runs


def limit(bench: Bench) -> None:
    """The served light model against the echo of the same front; also with own ids, and with one body repeated."""
    with Echo(bench.folder) as echo, bench.served() as served:
        for shape in SHAPES:
            single = bench.numeric(LIGHT, 1)
            plan = bench.plan if shape in (ALONE, USUAL) else bench.plan.half()
            bench.run(Cell(LIGHT, 1, shape, [(echo, single), (served, single)]), plan)
        own = bench.numeric(LIGHT, 1, ids=True)
        one = bodies.repeated(bench.folder / "bodies", f"{LIGHT}-repeated", bench.numeric(LIGHT, 1))
        for shape in (ALONE, USUAL):
            bench.run(Cell(LIGHT, 1, shape, [(echo, own), (served, own)], OWN_IDS))
            bench.run(Cell(LIGHT, 1, shape, [(echo, one), (served, one)], ONE_BODY))


def sizes(bench: Bench) -> None:
    """Requests of more rows, and a model of more trees."""
    with Echo(bench.folder) as echo, bench.served() as served:
        for rows in (8, 100):
            many = bench.numeric(LIGHT, rows)
            bench.run(Cell(LIGHT, rows, USUAL, [(echo, many), (served, many)]), bench.plan.half())
        for rows in (1, 8, 100):
            bench.run(Cell(HEAVY, rows, USUAL, [(served, bench.numeric(HEAVY, rows))]), bench.plan.half())
        bench.run(Cell(HEAVY, 1, ALONE, [(served, bench.numeric(HEAVY, 1))]), bench.plan.half())


def churn(bench: Bench) -> None:
    """The 19-column pipeline with text, against the bound from the echo's time plus its ONNX Runtime time."""
    table, _ = train.read()
    _, holdout = train_test_split(table, test_size=0.3, random_state=1)
    columns = calls.columns_of(bench.packages.onnx(CHURN).parent)
    rows = calls.feeds(holdout, columns)
    messages = bodies.of_one_length([calls.request(CHURN, [row], columns) for row in rows])
    single = bodies.write(bench.folder / "bodies", CHURN, 1, messages)
    together = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    bare = Bare(bench.packages.onnx(CHURN), together)
    size = bare.best_size()
    with Echo(bench.folder) as echo, bench.served() as served:
        runs = bench.run(Cell(CHURN, 1, USUAL, [(echo, single), (served, single)]))
        row_s = median(bare.cpu_s_per_row(size, bench.plan.seconds / 2) for _ in range(bench.plan.rounds))
    bounds = [1.0 / (1.0 / run.rate + row_s) for run in runs["echo"]]
    bench.results.figures["churn_row_us"] = row_s * 1e6
    bench.results.figures["churn_bound"] = median(bounds)
    bench.results.figures["churn_of_bound"] = ratio([run.rate for run in runs["onnxpress"]], bounds)
    bench.results.notes.append(
        f"churn: ONNX Runtime alone takes {row_s * 1e6:.1f} µs a row (batches of {size}, one thread, pipeline with "
        f"text encoding); with the echo's time that bounds the rate at {median(bounds):,.0f}/s."
    )


def other_servers(bench: Bench) -> None:
    """Triton, its front alone and MLServer, each beside ours in the same rounds."""
    absent = peers.missing()
    for name in absent:
        bench.results.notes.append(f"{name} was not measured: it is not installed (`make bench-peers`).")
    with ExitStack() as stack:
        ours = stack.enter_context(bench.served())
        triton = front = ml = None
        if "triton" not in absent:
            triton = stack.enter_context(peers.Triton(bench.folder, bench.packages))
            front = peers.TritonFront(triton)
        if "mlserver" not in absent:
            ml = stack.enter_context(peers.MLServer(bench.folder, bench.packages, _best_mlserver(bench)))
        nobody = bench.numeric(ABSENT, 1)
        for shape in (USUAL,) if bench.plan.brief else SHAPES:
            single = bench.numeric(LIGHT, 1)
            field_ = _present((ours, single), (triton, single), (front, nobody), (ml, single))
            plan = bench.plan if shape == USUAL else bench.plan.half()
            _run_beside(bench, Cell(LIGHT, 1, shape, field_, peers=True), plan)
        for model, rows in () if bench.plan.brief else ((LIGHT, 100), (HEAVY, 1)):
            some = bench.numeric(model, rows)
            beside = _present((ours, some), (triton, some), (ml, some))
            _run_beside(bench, Cell(model, rows, USUAL, beside, peers=True), bench.plan.half())


def _run_beside(bench: Bench, cell: Cell, plan: Plan) -> None:
    """Runs a cell; where another server fails under the load, the cell is left out and noted."""
    try:
        bench.run(cell, plan)
    except GeneratorError as error:
        bench.results.notes.append(f"{cell.name} was not measured: {error}.")
        bench.tell(f"  {cell.name}: {error}")


def _present(*contenders: tuple[Target | None, Bodies]) -> list[tuple[Target, Bodies]]:
    return [(target, sent) for target, sent in contenders if target is not None]


def _best_mlserver(bench: Bench) -> peers.MLServerSettings:
    """Runs each of its settings once, and returns the fastest."""
    single, rates = bench.numeric(LIGHT, 1), {}
    for settings in peers.MLSERVER_TRIED[1:2] if bench.plan.brief else peers.MLSERVER_TRIED:
        with peers.MLServer(bench.folder, bench.packages, settings) as server:
            measure(bench.generator, server, single, USUAL, bench.plan.warm_s)
            rates[settings] = measure(bench.generator, server, single, USUAL, bench.plan.seconds).rate
        bench.tell(f"  mlserver with {settings}: {rates[settings]:,.0f}/s")
    best = max(rates, key=rates.__getitem__)
    tried = "; ".join(f"{settings}: {rate:,.0f}/s" for settings, rate in rates.items())
    bench.results.notes.append(f"MLServer ran with {best}, of: {tried}.")
    return best


def batching(bench: Bench) -> None:
    """Requests of 1, 8 and 100 rows for the heavy model at saturation, against a bare loop over the same rows."""
    bare = Bare(bench.packages.onnx(HEAVY), {"input": bodies.rows_of(1, bodies.DIFFERENT)})
    size, figures = bare.best_size(), bench.results.figures
    loads = [(1, USUAL), (1, MOST), (8, USUAL), (100, USUAL)]
    runs: dict[tuple[int, Shape], list[Run]] = {load: [] for load in loads}
    alone: list[float] = []
    with bench.served() as served:
        for rows, shape in loads:
            measure(bench.generator, served, bench.numeric(HEAVY, rows), shape, bench.plan.warm_s)
        for _ in range(bench.plan.rounds):
            alone.append(bare.cpu_s_per_row(size, bench.plan.seconds / 2))
            for rows, shape in loads:
                requests = bench.numeric(HEAVY, rows)
                runs[rows, shape].append(measure(bench.generator, served, requests, shape, bench.plan.seconds))
    figures["bare_cpu_s_per_million"] = median(alone) * MILLION
    for (rows, shape), of in runs.items():
        bench.results.cells[f"{cell_name(HEAVY, rows, shape)}, beside a bare loop"] = {"onnxpress": of}
        spent = [run.cpu_s / (run.answered * rows) for run in of]
        figures[f"served_cpu_s_per_million {rows} {shape}"] = median(spent) * MILLION
        figures[f"batching {rows} {shape}"] = ratio(spent, alone)
    bench.results.notes.append(
        f"batching: a bare loop of ONNX Runtime takes {median(alone) * MILLION:.1f} CPU s per million rows of the "
        f"heavy model at its best batch size, {size}."
    )
    bench.tell(f"  bare {median(alone) * MILLION:.1f} CPU s per million rows at {size}; {figures}")


def together(bench: Bench) -> None:
    """The effect of a neighbour on p99."""
    light, heavy = bench.numeric(LIGHT, 1), bench.numeric(HEAVY, 1)
    figures = bench.results.figures
    with bench.served() as served:
        for shape in (PACED, USUAL):
            plan = bench.plan if shape == PACED else bench.plan.half()
            seen = neighbours.beside_heavy(bench.generator, served, light, heavy, shape, plan)
            factor = ratio([run.p99 for run in seen.beside], [run.p99 for run in seen.alone])
            figures[f"light_p99_beside_heavy {shape}"] = factor
            _keep(bench, f"light, 1 row, {shape}, while heavy is saturated", seen)
        for model in (LIGHT, HEAVY):
            huge = bench.numeric(model, neighbours.HUGE_ROWS)
            seen = neighbours.beside_huge(bench.generator, served, bench.numeric(model, 1), huge, bench.plan)
            moved = median(b.p99 - a.p99 for a, b in zip(seen.alone, seen.beside, strict=True))
            figures[f"p99_ms_beside_huge {model}"] = moved / 1e3
            _keep(bench, f"{model}, 1 row, {PACED}, with 10,000 rows each second", seen)


def _keep(bench: Bench, name: str, seen: neighbours.Disturbed) -> None:
    bench.results.cells[name] = {"alone": seen.alone, "beside": seen.beside}
    p99 = [middle(runs, "p99") / 1e3 for runs in (seen.alone, seen.beside)]
    bench.tell(f"  {name}: p99 {p99[0]:.2f} -> {p99[1]:.2f} ms")


def watched(bench: Bench) -> None:
    """The share of recording and aggregating metrics in the CPU of a request."""
    single = bench.numeric(LIGHT, 1)
    with bench.served() as served:
        for shape, size in ((ALONE, 1), (USUAL, 16)):
            measure(bench.generator, served, single, shape, bench.plan.warm_s)
            whole = [
                measure(bench.generator, served, single, shape, bench.plan.seconds) for _ in range(bench.plan.rounds)
            ]
            cost = median(watching.cpu_s_per_request(size) for _ in range(bench.plan.rounds))
            share = cost / median(run.cpu_s / run.answered for run in whole)
            bench.results.figures[f"metrics_share {shape}"] = share
            bench.tell(f"  metrics at {shape}: {cost * 1e6:.2f} µs a request, {share:.1%} of its CPU")
    bench.results.notes.append(
        "metrics cannot be switched off; their cost is measured alone in a process, as a "
        "share of the server's CPU per request."
    )


def against(bench: Bench) -> None:
    """The server of this tree beside that of another build, in the same rounds."""
    # A second repository, since servers of one repository are replicas with the same deployment.
    repository = bench.folder / "before"
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree(bench.packages.repository, repository)
    with bench.served() as served, Served(bench.folder, repository, command=bench.before) as before:
        for model, rows, shape in ((LIGHT, 1, ALONE), (LIGHT, 1, USUAL), (HEAVY, 100, USUAL)):
            sent = bench.numeric(model, rows)
            runs = bench.run(Cell(model, rows, shape, [(before, sent), (served, sent)], BESIDE_BEFORE))
            ratios = [ours.rate / its.rate for ours, its in zip(runs[served.name], runs[before.name], strict=True)]
            bench.results.notes.append(
                f"onnxpress / before, {model}, {rows} rows, {shape}: {median(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f})"
            )


PARTS: dict[str, Callable[[Bench], None]] = {
    "limit": limit,
    "sizes": sizes,
    "churn": churn,
    "peers": other_servers,
    "batching": batching,
    "neighbours": together,
    "metrics": watched,
}
