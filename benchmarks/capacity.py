"""Two measurements of one server's capacity with the same requests: h2load's closed loop and the ramp's open loop.

`ci/load.sh --apart heavy capacity [--rows N] [ramp flags ...]` serves a model and runs it.

Wants a quiet machine, and the server on cores of its own, since the open loop's generator needs far more of a core than
h2load. Arrivals are evenly spaced, since a closed loop has no bursts either; `--arrivals poisson` measures how much of
the capacity bursts leave. Exit code: 0 when the two are within 20 %, 1 when not, else that of the ramp.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.bodies import frame
from benchmarks.children import ROOT
from benchmarks.generator import HEADERS, METHOD
from onnxpress.loadtests.workload.packages import read_package
from onnxpress.loadtests.workload.payloads import pool

WORK = ROOT / "build" / "load"
CALLS_AT_ONCE = (1, 2, 3, 4, 6, 8)
SECONDS, WARM_S = 5, 1
RAMP = ("--rps", "20", "--duration", "5", "--samples-min", "2000", "--arrivals", "constant", "--resolution", "0.05")
AGREEMENT = 0.2  # largest relative difference
# One float32 a row is the least that an answer holds; a refusal has no data, and one in fifty shows.
ANSWER_BYTES_A_ROW = 4
ANSWERED_SHARE_MIN = 0.98


def request_of(package: Path, rows: int) -> bytes:
    """A framed ModelInfer request of `rows` rows drawn from the package's profile."""
    return frame(pool([read_package(package)], rows, None, seed=1, size=2)[1].body)


def answered_rate(output: str, rows: int) -> float | None:
    """Requests per second of one run of h2load; None where refusals were among the answers.

    HTTP status 200 is all that h2load knows of success, so refusals are found by the size of the answers.
    """
    rate = re.search(r"finished in [\d.]+\w*s, ([\d.]+) req/s", output)
    answers = re.search(r"status codes: (\d+) 2xx", output)
    data = re.search(r"\((\d+)\) data", output)
    if not (rate and answers and data) or int(answers[1]) == 0:
        return None
    bytes_each = int(data[1]) / int(answers[1])
    return float(rate[1]) if bytes_each > ANSWERED_SHARE_MIN * ANSWER_BYTES_A_ROW * rows else None


def closed_loop(target: str, body: Path, rows: int) -> float | None:
    """The highest rate of h2load, over numbers of calls at once; None where every run had refusals.

    The server refuses calls beyond those it admits, and refusing is quick: a run with refusals measures no capacity.
    """
    rates = []
    for calls in CALLS_AT_ONCE:
        command = ["h2load", f"-c{calls}", "-m1", f"-D{SECONDS}", f"--warm-up-time={WARM_S}", "-d", str(body)]
        command += [word for header in HEADERS for word in ("-H", header)]
        said = subprocess.run([*command, f"http://{target}{METHOD}"], capture_output=True, text=True, check=True).stdout
        rate = answered_rate(said, rows)
        click.echo(f"h2load, {calls} at once: " + ("refusals" if rate is None else f"{rate:.1f}/s"))
        rates += [rate] if rate is not None else []
    return max(rates, default=None)


def open_loop(target: str, package: Path, rows: int, flags: tuple[str, ...]) -> float:
    """The capacity that `onnxpress loadtest ramp` finds. Where the ramp fails, the process ends with its exit code."""
    report = WORK / "ramp"
    command = [sys.executable, "-m", "onnxpress", "loadtest", "ramp", "--target", target, "--package", str(package)]
    command += ["--rows", str(rows), *RAMP, "--report-dir", str(report), *flags]
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)
    return float(json.loads((report / "report.json").read_text())["ramp"]["capacity"])


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.option("--target", required=True, metavar="HOST:PORT")
@click.option("--package", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rows", type=click.IntRange(1), default=100, show_default=True)
@click.argument("ramp_flags", nargs=-1, type=click.UNPROCESSED)
def main(target: str, package: Path, rows: int, ramp_flags: tuple[str, ...]) -> None:
    if shutil.which("h2load") is None:
        raise click.ClickException("h2load is not installed (Debian: apt install nghttp2-client)")
    WORK.mkdir(parents=True, exist_ok=True)
    body = WORK / "body"
    body.write_bytes(request_of(package, rows))
    theirs = closed_loop(target, body, rows)
    if theirs is None:
        raise click.ClickException("every run of h2load had refusals")
    ours = open_loop(target, package, rows, ramp_flags)
    click.echo(
        f"capacity: ramp {ours:.1f}/s with every objective held, h2load {theirs:.1f}/s, ratio {ours / theirs:.2f}"
    )
    sys.exit(0 if abs(ours / theirs - 1) <= AGREEMENT else 1)


if __name__ == "__main__":
    main()
