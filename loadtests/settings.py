"""The settings of a load test, declared once for `onnxpress loadtest` and for plain locust."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpress.loadtests.errors import UsageError
from onnxpress.loadtests.measure.tally import Kind
from onnxpress.loadtests.verdict.slo import Objectives, Validity, read_slo
from onnxpress.loadtests.workload.packages import read_packages
from onnxpress.loadtests.workload.shapes import Arrivals, Phase, overload, spike, steady
from onnxpress.packages.package import Package

SUITES = {
    "steady": "one rate; every objective must hold all the time",
    "ramp": "finds the capacity: the highest rate with the objectives held",
    "spike": "bursts of --factors times the rate, and recovery from each",
    "soak": "one rate for a long time; the objectives must hold in every minute",
    "swap": "hot swaps between the versions of --package under load",
    "overload": "--factors times the --capacity: polite refusals, goodput, recovery",
    "mixed": "several models and row counts from 1 to 1,000 at once",
    "streams": "one rate over ModelStreamInfer, one stream per connection",
}
DEFAULT_FACTORS = {"spike": (10.0, 100.0), "overload": (2.0, 5.0, 10.0)}
MIXED_ROWS = ((1, 0.70), (8, 0.15), (64, 0.10), (256, 0.04), (1000, 0.01))
CRITICAL_SHARE = 0.1
WINDOW_SECONDS = 60.0  # of a soak
SLO_FILE = Path("slo.toml")  # in the working folder, unless --slo names another
OBJECTIVE_FLAGS = ("p50_ms", "p95_ms", "p99_ms", "p999_ms", "error_rate", "throughput_share", "capacity_min")
VALIDITY_FLAGS = ("samples_min", "lag_p99_ms", "cpu_max")


def add_arguments(parser: Any) -> None:
    """Declares every setting on an argparse parser, or on locust's, which is one."""
    add = parser.add_argument
    add("--target", default="127.0.0.1:8001", metavar="HOST:PORT", help="the server's data port")
    add("--model", action="append", default=None, help="the model to call; by default what the package says")
    add("--package", action="append", default=None, metavar="DIR", help="a version's folder; again for more")
    add("--rows-file", default=None, metavar="CSV", help="send rows of this file, not of the profile")
    add("--rps", type=float, default=100.0, help="requests per second; of a ramp: the first rate")
    add(
        "--duration",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="length of the whole suite; of a ramp: of each step",
    )
    add(
        "--warmup",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="load before it, which is shown and not judged by latency",
    )
    add("--connections", type=int, default=8, help="users, each with a channel of its own")
    add("--arrivals", choices=("poisson", "constant"), default="poisson", help="how requests are distributed over time")
    add("--deadline-ms", type=float, default=2000.0, help="deadline of every call")
    add("--rows", type=int, default=1, help="rows in a request")
    add("--factors", default=None, metavar="2,5,10", help="multiples of the rate (spike) or the capacity (overload)")
    add(
        "--capacity",
        type=float,
        default=0.0,
        metavar="RPS",
        help="capacity of the server, as a ramp found it (overload)",
    )
    add("--rps-max", type=float, default=50_000.0, help="where a ramp stops searching")
    add("--resolution", type=float, default=0.1, help="relative precision of the capacity that a ramp finds")
    add("--admin", default="127.0.0.1:8003", metavar="HOST:PORT", help="the server's admin port (swap)")
    add("--swap-every", type=float, default=5.0, metavar="SECONDS", help="time between hot swaps")
    add("--seed", type=int, default=1, help="the same seed sends the same requests at the same times")
    add("--slo", default=None, metavar="TOML", help="file of objectives; by default ./slo.toml if it exists")
    for name in (*OBJECTIVE_FLAGS, *VALIDITY_FLAGS):
        kind = int if name == "samples_min" else float
        add("--" + name.replace("_", "-"), type=kind, default=None, help=f"{name} of slo.toml, for this run")
    add("--report-dir", default=None, metavar="DIR", help="write report.html, report.json and junit.xml")
    add("--baseline", default=None, metavar="JSON", help="an earlier report.json to compare with")
    add("--output", choices=("text", "json"), default="text", help="json for programs; docs/cli.md has the shape")


@dataclass(frozen=True)
class Settings:
    """The checked settings of a test. Times in seconds, rates in requests per second."""

    suite: str
    target: str
    packages: tuple[Package, ...]
    rows_file: Path | None
    rps: float
    duration: float
    warmup: float
    connections: int
    arrivals: Arrivals
    deadline: float
    kinds: tuple[Kind, ...]
    factors: tuple[float, ...]
    capacity: float
    rps_max: float
    resolution: float
    admin: str
    swap_every: float
    seed: int
    objectives: Objectives
    validity: Validity
    report_dir: Path | None
    baseline: Path | None
    output: str

    def packages_of(self, model: str) -> tuple[Package, ...]:
        return tuple(package for package in self.packages if package.model == model)

    def expected_versions(self) -> dict[str, frozenset[int]]:
        """By model, the versions that may answer: those whose packages were given."""
        return {
            package.model: frozenset(each.version for each in self.packages_of(package.model))
            for package in self.packages
        }

    def phases(self) -> tuple[Phase, ...]:
        """All phases; empty for a ramp, whose plan depends on its results."""
        if self.suite == "ramp":
            return ()
        if self.suite == "spike":
            return spike(self.rps, self.duration, self.warmup, self.factors)
        if self.suite == "overload":
            return overload(self.capacity, self.duration, self.warmup, self.factors)
        if self.suite == "soak":
            return _windows(self.rps, self.duration, self.warmup)
        return steady(self.rps, self.duration, self.warmup, self.suite)


def _windows(rate: float, seconds: float, warmup: float) -> tuple[Phase, ...]:
    """A soak is judged minute by minute, so that a slow hour is not averaged away by a good day."""
    count = max(1, round(seconds / WINDOW_SECONDS))
    each = seconds / count
    first = steady(rate, each, warmup, "minute 1")
    start = first[-1].end
    return first + tuple(
        Phase(f"minute {index + 1}", start + (index - 1) * each, each, rate) for index in range(1, count)
    )


def settings_of(given: argparse.Namespace) -> Settings:
    """Checks the arguments. Raises UsageError naming the flag, its value and the expected one."""
    if given.suite not in SUITES:
        raise UsageError(f"no suite {given.suite!r}; there are {', '.join(SUITES)}")
    for flag in ("rps", "duration", "connections", "deadline_ms", "rows", "rps_max", "resolution", "swap_every"):
        if getattr(given, flag) <= 0:
            raise UsageError(f"--{flag.replace('_', '-')} is {getattr(given, flag):g}, expected more than 0")
    if given.warmup < 0:
        raise UsageError(f"--warmup is {given.warmup:g}, expected 0 or more")
    for flag in ("target", "admin"):
        _check_address(flag, getattr(given, flag))
    packages = read_packages([Path(folder) for folder in given.package or []])
    if not packages:
        raise UsageError("--package is missing: a version's folder, such as models/churn/1")
    _check_models(given.model, packages)
    if given.suite == "swap" and len({package.version for package in packages}) < 2:
        raise UsageError("swap needs --package twice: two versions of one model")
    if given.suite == "overload" and given.capacity <= 0:
        raise UsageError("overload needs --capacity, in requests per second, as the suite ramp finds it")
    baseline = _path(given.baseline)
    if baseline and not baseline.is_file():
        raise UsageError(f"--baseline {baseline} is no file")
    slo = _path(given.slo) or (SLO_FILE if SLO_FILE.is_file() else None)
    overrides = {name: getattr(given, name) for name in (*OBJECTIVE_FLAGS, *VALIDITY_FLAGS)}
    objectives, validity = read_slo(slo, given.suite, overrides)
    return Settings(
        suite=given.suite,
        target=given.target,
        packages=packages,
        rows_file=_path(given.rows_file),
        rps=given.rps,
        duration=given.duration,
        warmup=given.warmup,
        connections=given.connections,
        arrivals=given.arrivals,
        deadline=given.deadline_ms / 1000,
        kinds=_kinds(given.suite, given.rows, packages),
        factors=_factors(given.suite, given.factors),
        capacity=given.capacity,
        rps_max=given.rps_max,
        resolution=given.resolution,
        admin=given.admin,
        swap_every=given.swap_every,
        seed=given.seed,
        objectives=objectives,
        validity=validity,
        report_dir=_path(given.report_dir),
        baseline=baseline,
        output=given.output,
    )


def _path(text: str | None) -> Path | None:
    """Paths are text until here because locust sends its options to its workers."""
    return Path(text) if text else None


def _check_address(flag: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--{flag} is {address!r}, expected HOST:PORT")


def _check_models(names: list[str] | None, packages: tuple[Package, ...]) -> None:
    known = {package.model for package in packages}
    for name in names or []:
        if name not in known:
            raise UsageError(f"--model is {name!r}, the packages are of {', '.join(sorted(known))}")
    left_out = known - set(names or known)
    if left_out:
        raise UsageError(f"--package names model {min(left_out)!r}, which no --model does")


def _factors(suite: str, text: str | None) -> tuple[float, ...]:
    if text is None:
        return DEFAULT_FACTORS.get(suite, ())
    try:
        factors = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--factors is {text!r}, expected numbers such as 2,5,10") from None
    if min(factors) <= 0:
        raise UsageError(f"--factors is {text!r}, expected numbers above 0")
    return factors


def _kinds(suite: str, rows: int, packages: tuple[Package, ...]) -> tuple[Kind, ...]:
    """The classes of requests that a suite sends."""
    models = list(dict.fromkeys(package.model for package in packages))
    if suite == "mixed":
        return tuple(Kind(model, count, weight) for model in models for count, weight in MIXED_ROWS)
    if suite == "overload":
        return tuple(
            kind
            for model in models
            for kind in (Kind(model, rows, 1 - CRITICAL_SHARE), Kind(model, rows, CRITICAL_SHARE, "critical"))
        )
    return tuple(Kind(model, rows) for model in models)
