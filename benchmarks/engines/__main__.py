"""`python -m benchmarks.engines`: engines for trees side by side, on one thread, by CPU time per row."""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

from benchmarks import machine
from benchmarks.children import ROOT
from benchmarks.engines import report
from benchmarks.engines.contenders import ENVIRONMENT, OTHERS, ContenderError, Other, Timer, ours
from benchmarks.engines.models import MODELS, Built, build, different_rows
from benchmarks.report import aligned, verdicts

WORK = ROOT / "build" / "benchmarks" / "engines"
DOCS = ROOT / "docs" / "benchmarks"
SIZES = (1, 2, 4, 8, 16, 64, 128, 1000)
ROWS = 8000
LIBRARIES = ("treelite", "tl2cgen", "scikit-learn-intelex")

# batch size -> contender -> CPU seconds per row of each round
Sizes = dict[int, dict[str, list[float]]]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds side by side (default 5)")
    parser.add_argument("--seconds", type=float, default=0.2, metavar="S", help="length of one run (default 0.2)")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=[*MODELS], metavar="MODEL", help="some of them")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a promise is not kept")
    arguments = parser.parse_args(argv)
    rounds, seconds = (1, 0.02) if arguments.quick else (arguments.rounds, arguments.seconds)
    if rounds < 1 or seconds <= 0:
        parser.error("rounds and seconds must be positive")
    start, costs = monotonic(), dict[str, Sizes]()
    absent: dict[str, str] = {}
    for name in arguments.only:
        built = build(name, WORK, say)
        say(f"{name} [{monotonic() - start:.0f} s]")
        costs[name] = measure(built, rounds, seconds, absent)
        say(aligned(report.table(costs[name])) + "\n")
    kept = report.promises(costs)
    say(aligned(verdicts(kept)))
    partial = arguments.quick or len(costs) < len(MODELS)
    plan = f"Medians of {rounds} rounds side by side, {seconds:g} s each."
    publish(WORK if partial else DOCS, costs, absent, plan)
    say(f"\n{monotonic() - start:.0f} s")
    return int(arguments.strict and any(promise.kept is False for promise in kept))


def measure(built: Built, rounds: int, seconds: float, absent: dict[str, str]) -> Sizes:
    """The costs of every contender; `absent` gets those that cannot run the model, with the reason."""
    rows = different_rows(ROWS)
    with ExitStack() as stack:
        timers: dict[str, Timer] = dict(ours(built, rows))
        for name in OTHERS:
            try:
                other = Other(name, built, rows, WORK / "others")
            except ContenderError as error:
                absent[f"{name}, {built.model.title}"] = str(error)
                continue
            stack.callback(other.stop)
            timers[name] = other
        return side_by_side(timers, rounds, seconds)


def side_by_side(timers: dict[str, Timer], rounds: int, seconds: float) -> Sizes:
    """The CPU seconds per row of each timer, one per round."""
    found: Sizes = {size: {name: [] for name in timers} for size in SIZES}
    names = [*timers]
    for size in SIZES:
        for number in range(rounds):
            # The order rotates, because the first finds the caches of the last.
            for name in (*names[number % len(names) :], *names[: number % len(names)]):
                found[size][name].append(timers[name](size, seconds))
    return found


def publish(folder: Path, costs: report.Costs, absent: dict[str, str], plan: str) -> None:
    """Writes page, plot and figures."""
    folder.mkdir(parents=True, exist_ok=True)
    about = machine.describe(machine.installed(ENVIRONMENT, LIBRARIES))
    (folder / report.PAGE).write_text(report.page(costs, absent, about, plan))
    plain = {"machine": about, "absent": absent, "cpu_s_per_row": costs}
    (folder / report.FIGURES).write_text(json.dumps(plain, indent=1) + "\n")
    report.draw(costs, folder / report.PLOT)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
