"""`onnxpress loadtest`: checks what was asked, then becomes the locust process that does it."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from onnxpress.loadtests.errors import UsageError
from onnxpress.loadtests.generator.plan import pools
from onnxpress.loadtests.settings import SUITES, add_arguments, settings_of
from onnxpress.loadtests.verdict.slo import Exit
from onnxpress.loadtests.workload.payloads import GOLDEN_EVERY

OURS = ("suite", "processes", "headless")  # that locust has in other words
LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def parser() -> argparse.ArgumentParser:
    suites = "\n".join(f"  {name:<9} {line}" for name, line in SUITES.items())
    made = argparse.ArgumentParser(
        prog="onnxpress loadtest",
        description="Holds a server to its latency objectives under open-loop load.",
        epilog=f"suites:\n{suites}\n\nexit: 0 held, 1 broken, 2 usage, 4 the measurement is invalid",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("suite", metavar="SUITE", choices=SUITES, help=", ".join(SUITES))
    add_arguments(made)
    made.add_argument("--processes", type=int, default=1, help="generator processes, merged into one measurement")
    made.add_argument("--headless", action="store_true", help="no line of progress")
    return made


def locust_arguments(given: argparse.Namespace) -> list[str]:
    """The same request in locust's words."""
    out = ["--suite", given.suite, "--headless", "--only-summary", "--skip-log-setup", "--loglevel", "WARNING"]
    for name, value in vars(given).items():
        if name in OURS or value is None:
            continue
        flag = f"--{name.replace('_', '-')}"
        out += [f"{flag}={each}" for each in (value if isinstance(value, list) else [value])]
    if given.processes > 1:
        out += ["--processes", str(given.processes), "--expect-workers-max-wait", "60"]
    return out if given.headless else [*out, "--progress"]


def main(argv: list[str]) -> int:
    """`argv[0]` is the command's name. Returns on bad usage only; otherwise the process becomes locust."""
    given = parser().parse_args(argv[1:])
    if given.processes < 1:
        sys.stderr.write(f"onnxpress loadtest: --processes is {given.processes}, expected 1 or more\n")
        return Exit.USAGE
    try:
        pools(settings_of(given), size=GOLDEN_EVERY)
    except UsageError as error:
        sys.stderr.write(f"onnxpress loadtest: {error}\n")
        return Exit.USAGE
    return become_locust(given)


def become_locust(given: argparse.Namespace) -> NoReturn:
    sys.stdout.flush()
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *locust_arguments(given)]
    os.execv(sys.executable, command)  # noqa: S606 -- the same interpreter, no shell
