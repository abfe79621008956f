"""`onnxpress gate`: what a model passes before anybody deploys it."""

import json
import shlex
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from onnxpress.ci import gate as model_gate
from onnxpress.ci.signoff import SIGNOFF, Stage, Verdict, sign_off, write
from onnxpress.cli.options import output_option

LOAD_FLAGS = ("--rps", "1000", "--duration", "60")
EXITS = {Verdict.SIGNED_OFF: 0, Verdict.REFUSED: 1, Verdict.INVALID: 4}
TERMINATED = 143  # 128 + SIGTERM
EPILOG = (
    "LOADTEST_FLAGS go to `onnxpress loadtest steady`; without them: --rps 1000 --duration 60. Objectives come from "
    "./slo.toml. Exit code: 0 signed off, 1 refused, 2 usage, 4 the load test was no valid measurement."
)
existing = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}, epilog=EPILOG)
@click.option(
    "--convert-flags", envvar="CONVERT_FLAGS", default="", metavar="FLAGS", help="for `onnxpress convert`, in one word"
)
@click.option(
    "--serve-flags", envvar="SERVE_FLAGS", default="", metavar="FLAGS", help="for `onnxpress serve`, in one word"
)
@output_option
@click.argument("model", type=existing)
@click.argument("sample", type=existing)
@click.argument("name")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.argument("loadtest_flags", nargs=-1, type=click.UNPROCESSED, metavar="[LOADTEST_FLAGS]...")
def gate(
    model: Path,
    sample: Path,
    name: str,
    out: Path,
    loadtest_flags: tuple[str, ...],
    convert_flags: str,
    serve_flags: str,
    output: str,
) -> None:
    """Converts MODEL with proof, verifies, serves and load tests it, and writes OUT/signoff.json.

    SAMPLE: training rows, csv or parquet. NAME: the model's name. OUT: a folder without models of an earlier run; it
    gets models/, report/, a log of each stage, and signoff.json: the verdict, each stage and why it failed, the SHA-256
    of every file that was tested, and the figures of the load test.
    """
    if (out / "models").exists():
        raise click.UsageError(
            f"{out / 'models'} exists: a sign-off is about one fresh package, so name an empty folder"
        )
    request = model_gate.Request(
        model,
        sample,
        name,
        out.absolute(),
        _words("--convert-flags", convert_flags),
        _words("--serve-flags", serve_flags),
        loadtest_flags or LOAD_FLAGS,
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{out} cannot be made: {error.strerror}") from error
    signal.signal(signal.SIGTERM, _terminated)
    done = _pass(request, quiet=output == "json")
    document = sign_off(request.out, name, done, datetime.now(UTC))
    write(request.out, document)
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    else:
        failed = "" if done[-1].passed else f" at {done[-1].name}: {done[-1].reason}"
        click.echo(f"{name}: {document['verdict']}{failed}; see {out / SIGNOFF}")
    raise click.exceptions.Exit(EXITS[document["verdict"]])


def _pass(request: model_gate.Request, *, quiet: bool) -> list[Stage]:
    """Runs the stages; a line for each as it ends unless `quiet`."""
    done = []
    for stage in model_gate.stages(request):
        done.append(stage)
        if not quiet:
            click.echo(f"{stage.name:<8} {'passed' if stage.passed else 'failed'}, {stage.seconds} s")
    return done


def _words(flag: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise click.UsageError(f"{flag} is {text!r}: {error}") from error


def _terminated(*_: Any) -> None:
    """SIGTERM ends the command as an exception, so that the server and the stage that runs are stopped."""
    sys.exit(TERMINATED)
