"""`python -m benchmarks`: measures, prints the table and the promises, and writes the page of the docs."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic

from benchmarks import machine, packages, peers, plot, report
from benchmarks.acceptance import promises
from benchmarks.children import ROOT, ChildError
from benchmarks.figures import as_json
from benchmarks.generator import Generator, GeneratorError
from benchmarks.packages import LIGHT
from benchmarks.rounds import FULL, QUICK, USUAL, cell_name
from benchmarks.scenarios import PARTS, Bench, Results, against

WORK = ROOT / "build" / "benchmarks"
DOCS = ROOT / "docs" / "benchmarks"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds side by side (default {FULL.rounds})")
    parser.add_argument("--seconds", type=float, metavar="S", help=f"length of one run (default {FULL.seconds})")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of {', '.join(PARTS)}")
    parser.add_argument(
        "--against", type=Path, metavar="COMMAND",
        help="only compare with another build: the `onnxpress` command of the environment that it is installed in",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit 1 when a promise is not kept")
    parser.add_argument(
        "--out", type=Path, help=f"folder for page, plot and figures (default docs/benchmarks; {WORK} for a part)"
    )
    arguments = parser.parse_args(argv)
    plan = QUICK if arguments.quick else FULL
    given = {name: getattr(arguments, name) for name in ("rounds", "seconds") if getattr(arguments, name) is not None}
    plan = replace(plan, **given)
    if plan.rounds < 1 or plan.seconds <= 0:
        parser.error("rounds and seconds must be positive")
    parts = {"against": against} if arguments.against else {name: PARTS[name] for name in arguments.only or PARTS}
    partial = bool(arguments.quick or arguments.only or arguments.against)
    start, results = monotonic(), Results()
    try:
        bench = Bench(
            WORK, packages.build(WORK / "models", say), Generator(WORK), plan, results, say, arguments.against
        )
    except GeneratorError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    failed = [name for name, part in parts.items() if not measured(name, part, bench, monotonic() - start)]
    kept = promises(results.cells, results.figures)
    say("\n" + report.aligned(report.table(results.cells)))
    say("\n" + "\n".join(results.notes))
    if not arguments.against:
        say("\n" + report.aligned(report.verdicts(kept)))
    lasted = f"{plan.rounds} rounds side by side of {plan.seconds:g} s each; cells that no promise hangs on: half."
    publish(arguments.out or (WORK if partial or failed else DOCS), results, lasted)
    say(f"\n{monotonic() - start:.0f} s")
    if failed:
        return 2
    return int(arguments.strict and any(promise.kept is False for promise in kept))


def measured(name: str, part: Callable[[Bench], None], bench: Bench, seconds: float) -> bool:
    """Runs a part. A failure is printed and noted, and the other parts are still run."""
    say(f"{name}: {part.__doc__} [{seconds:.0f} s]")
    try:
        part(bench)
    except (GeneratorError, ChildError) as error:
        print(f"bench: {name} failed: {error}", file=sys.stderr)
        bench.results.notes.append(f"{name}: the measurement failed ({str(error).splitlines()[0]}).")
        return False
    return True


def publish(folder: Path, results: Results, lasted: str) -> None:
    """Writes page, plot and figures."""
    folder.mkdir(parents=True, exist_ok=True)
    about = machine.describe({**machine.h2load(), **peers.versions()})
    kept = promises(results.cells, results.figures)
    (folder / "README.md").write_text(report.page(results.cells, kept, about, results.notes, lasted))
    plain = {"machine": about, "figures": results.figures, "notes": results.notes, "cells": as_json(results.cells)}
    (folder / "results.json").write_text(json.dumps(plain, indent=1) + "\n")
    usual = cell_name(LIGHT, 1, USUAL)
    servers = {**results.cells.get(usual, {}), **results.cells.get(cell_name(LIGHT, 1, USUAL, peers=True), {})}
    plot.draw(servers, usual, folder / report.PLOT)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
