"""`onnxpress loadtest`: checks the command line, then replaces its own process with locust."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from onnxpress.cli.options import DeclaredOptions
from onnxpress.loadtests.errors import UsageError
from onnxpress.loadtests.generator.plan import pools
from onnxpress.loadtests.settings import SUITES, add_arguments, settings_of
from onnxpress.loadtests.workload.payloads import GOLDEN_EVERY

OURS = ("suite", "processes", "headless")  # locust has these under other names
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
SUITES_HELP = "\b\nSuites:\n" + "\n".join(f"  {name:<9} {line}" for name, line in SUITES.items())
EXITS_HELP = (
    "Exit code: 0 held, 1 broken, 2 usage, 4 the measurement is invalid. With --report-dir, report.json has every "
    "figure of the report."
)


def _declared() -> list[click.Parameter]:
    """The settings of a load test as click options; locust's parser declares the same ones."""
    declared = DeclaredOptions()
    add_arguments(declared)
    return declared.options


@click.command(
    epilog=f"{SUITES_HELP}\n\n{EXITS_HELP}",
    params=[click.Argument(["suite"], type=click.Choice(list(SUITES))), *_declared()],
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="generator processes, merged into one measurement",
)
@click.option("--headless", is_flag=True, help="do not show progress")
def loadtest(**given: Any) -> None:
    """Holds a server to its latency objectives under open-loop load."""
    asked = argparse.Namespace(**given)
    try:
        pools(settings_of(asked), size=GOLDEN_EVERY)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    become_locust(asked)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line, by the names of the settings."""
    return argparse.Namespace(**loadtest.make_context("loadtest", list(words)).params)


def locust_arguments(given: argparse.Namespace) -> list[str]:
    """The same arguments as locust's command line has them."""
    out = ["--suite", given.suite, "--headless", "--only-summary", "--skip-log-setup", "--loglevel", "WARNING"]
    for name, value in vars(given).items():
        if name in OURS or value is None:
            continue
        flag = f"--{name.replace('_', '-')}"
        out += [f"{flag}={each}" for each in (value if isinstance(value, list) else [value])]
    if given.processes > 1:
        out += ["--processes", str(given.processes), "--expect-workers-max-wait", "60"]
    return out if given.headless else [*out, "--progress"]


def become_locust(given: argparse.Namespace) -> NoReturn:
    sys.stdout.flush()
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *locust_arguments(given)]
    os.execv(sys.executable, command)  # noqa: S606 -- the same interpreter, no shell
