"""Figures as tables, and the checks of the demo."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from examples.churn.load import FAILED, Records
from examples.churn.rollouts import PROMOTED, ROLLED_BACK, Ended

MS = 1e-6  # nanoseconds
S = 1e-9
QUANTILES = (0.5, 0.95, 0.99)
# Of a probability: rounding to float32 of itself and of the trees that were summed.
SERVED_TOLERANCE = 1e-6
# Version -> how its rollout must end, and the version that must be live then.
EXPECTED = {3: (ROLLED_BACK, 1), 2: (PROMOTED, 2)}


@dataclass(frozen=True)
class Parity:
    """The result of the conversion's gate, from parity.json."""

    version: int
    estimator: str
    holdout_auc: float
    exact: bool
    rows: int
    outside: int
    worst_difference: float
    seconds: float


@dataclass(frozen=True)
class Customer:
    """The churn probability of one customer, by the original and as served."""

    contract: str
    tenure: int
    monthly: float
    original: float
    served: float


@dataclass(frozen=True)
class Measure:
    """Calls of one kind or one period. Latency in milliseconds, measured by the client."""

    label: str
    calls: int
    failed: int
    wrong: int
    seconds: float
    rows: int
    versions: dict[int, int]
    quantiles_ms: tuple[float, ...]


@dataclass(frozen=True)
class Change:
    """One admin call that made `after` live; nanoseconds on the clock of the records."""

    label: str
    before: int
    after: int
    started: int
    returned: int


@dataclass(frozen=True)
class Barrier:
    """The counts of one change that README's promise P4 is about."""

    label: str
    took_ms: float
    checked: int  # calls sent after it had returned
    stale: int  # of these, answered by another version than the new one
    flips: int  # answered by the old version though sent after an answer of the new one had arrived


@dataclass
class Figures:
    """All figures of the demo; as a dict they are the JSON report."""

    parity: list[Parity] = field(default_factory=list)
    customers: list[Customer] = field(default_factory=list)
    customers_compared: int = 0
    served_worst: float = 0.0  # largest |served - original| over them
    speed: list[Measure] = field(default_factory=list)
    ceiling: float | None = None  # requests per second of h2load, where it is installed
    phases: list[Measure] = field(default_factory=list)
    barriers: list[Barrier] = field(default_factory=list)
    rollouts: list[Ended] = field(default_factory=list)
    shares: list[Measure] = field(default_factory=list)  # the calls of each rollout
    errors: dict[str, int] = field(default_factory=dict)
    exit_code: int | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(label: str, records: Records, start: int, stop: int) -> Measure:
    """The calls sent from `start` on and before `stop`."""
    part = records.between(start, stop)
    answered = part.version != FAILED
    versions, counts = np.unique(part.version[answered], return_counts=True)
    times = (part.done - part.sent)[answered] * MS
    return Measure(
        label,
        len(part.sent),
        int((~answered).sum()),
        int((answered & ~part.right).sum()),
        (stop - start) * S,
        int(answered.sum()) * part.rows,
        dict(zip(versions.tolist(), counts.tolist(), strict=True)),
        tuple(np.quantile(times, QUANTILES).tolist()) if len(times) else (),
    )


def barriers(records: Records, changes: Sequence[Change]) -> list[Barrier]:
    """P4 for each of `changes`, which are in order of time; the calls between one change and the next are its own."""
    ends = [change.started for change in changes[1:]] + [np.iinfo(np.int64).max]
    found = []
    for change, end in zip(changes, ends, strict=True):
        after = records.between(change.returned, end)
        answered = after.version != FAILED
        window = records.between(change.started, end)
        news = window.done[window.version == change.after]
        late = window.sent > news.min() if len(news) else np.zeros(len(window.sent), bool)
        found.append(
            Barrier(
                change.label,
                (change.returned - change.started) * MS,
                int(answered.sum()),
                int((answered & (after.version != change.after)).sum()),
                int((late & (window.version == change.before)).sum()),
            )
        )
    return found


def problems(figures: Figures) -> list[str]:
    """Why the demo fails, one sentence each; empty when every check passed."""
    answering = {version for part in figures.phases for version in part.versions}
    found = [
        f"version {parity.version}: {parity.outside} of {parity.rows} parity rows outside"
        for parity in figures.parity
        if not parity.exact or parity.outside or not parity.rows
    ]
    if not figures.customers_compared or figures.served_worst > SERVED_TOLERANCE:
        found.append(
            f"served answers differ from the original's by {figures.served_worst:.1e} "
            f"on {figures.customers_compared} customers"
        )
    found += [
        problem for part in (*figures.speed, *figures.phases, *figures.shares) for problem in _problems_of_calls(part)
    ]
    found += [
        f"version {parity.version} answered nothing under load"
        for parity in figures.parity
        if parity.version not in answering
    ]
    found += [problem for barrier in figures.barriers for problem in _problems_of_barrier(barrier)]
    found += [
        f"the rollout of version {ended.version} was {ended.state}: {ended.reason}"
        for ended in figures.rollouts
        if (ended.state, ended.live) != EXPECTED[ended.version]
    ]
    found += [f"{count} times {error}" for error, count in figures.errors.items()]
    if figures.exit_code != 0:
        found.append(f"the server ended with exit code {figures.exit_code} on SIGTERM")
    return found


def _problems_of_calls(part: Measure) -> Iterator[str]:
    if not part.calls:
        yield f"{part.label}: no calls were made"
    if part.failed:
        yield f"{part.label}: {part.failed} of {part.calls} calls failed"
    if part.wrong:
        yield f"{part.label}: {part.wrong} answers are not those of ONNX Runtime offline"


def _problems_of_barrier(barrier: Barrier) -> Iterator[str]:
    if not barrier.checked:
        yield f"{barrier.label}: no call was sent after it returned, so nothing was checked"
    if barrier.stale:
        yield f"{barrier.label}: {barrier.stale} calls sent after it returned got another version"
    if barrier.flips:
        yield f"{barrier.label}: {barrier.flips} calls were answered by the old version after the new one"


def parity_table(parities: Sequence[Parity]) -> str:
    head = ("version", "model", "holdout AUC", "rows compared", "outside", "largest difference", "seconds")
    rows = [
        (
            str(p.version),
            p.estimator,
            f"{p.holdout_auc:.4f}",
            f"{p.rows:,}",
            str(p.outside),
            f"{p.worst_difference:.1e}",
            f"{p.seconds:.1f}",
        )
        for p in parities
    ]
    return table(head, rows)


def customer_table(customers: Sequence[Customer]) -> str:
    head = ("contract", "months", "per month", "probability, original", "probability, served")
    rows = [(c.contract, str(c.tenure), f"{c.monthly:.2f}", f"{c.original:.6%}", f"{c.served:.6%}") for c in customers]
    return table(head, rows)


def speed_table(measures: Sequence[Measure]) -> str:
    head = ("load", "calls", "failed", "wrong", "calls/s", "rows/s", "p50 ms", "p95 ms", "p99 ms")
    rows = [
        (
            m.label,
            f"{m.calls:,}",
            str(m.failed),
            str(m.wrong),
            f"{m.calls / m.seconds:,.0f}",
            f"{m.rows / m.seconds:,.0f}",
            *_milliseconds(m),
        )
        for m in measures
    ]
    return table(head, rows)


def phase_table(phases: Sequence[Measure]) -> str:
    versions = sorted({version for phase in phases for version in phase.versions})
    head = ("sent", "calls", "failed", "wrong", *(f"by {v}" for v in versions), "p50 ms", "p95 ms", "p99 ms")
    rows = [
        (
            p.label,
            f"{p.calls:,}",
            str(p.failed),
            str(p.wrong),
            *(f"{p.versions.get(v, 0):,}" for v in versions),
            *_milliseconds(p),
        )
        for p in phases
    ]
    total = (
        "all",
        f"{sum(p.calls for p in phases):,}",
        str(sum(p.failed for p in phases)),
        str(sum(p.wrong for p in phases)),
        *(f"{sum(p.versions.get(v, 0) for p in phases):,}" for v in versions),
    )
    return table(head, [*rows, total])


def barrier_table(barriers: Sequence[Barrier]) -> str:
    head = ("change", "took ms", "calls sent after it", "answered by another version", "flipped back")
    return table(head, [(b.label, f"{b.took_ms:,.0f}", f"{b.checked:,}", str(b.stale), str(b.flips)) for b in barriers])


def _milliseconds(part: Measure) -> tuple[str, ...]:
    return tuple(f"{value:.2f}" for value in part.quantiles_ms) or ("-",) * len(QUANTILES)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell: the first left-aligned, the others right-aligned; rows may be short."""
    lines = [head, *rows]
    widths = [max(len(line[place]) for line in lines if place < len(line)) for place in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=False))
        )
        return "  " + "   ".join(padded).rstrip()

    rule = "  " + "   ".join("─" * width for width in widths)
    return "\n".join([line(head), rule, *(line(row) for row in rows)])
