"""The model gate: convert with proof, verify, serve, load test. The first stage that fails ends it."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from onnxpress.ci.served import NotServedError, Served
from onnxpress.ci.signoff import LOAD, Stage, load_failure, package_folder, read_report

Command = Sequence[str | Path]
ONNXPRESS: Command = (sys.executable, "-m", "onnxpress")
READY_S = 120.0
LOCAL = ("--host", "127.0.0.1", "--grpc-port", "0", "--http-port", "0", "--admin-address", "127.0.0.1:0")


@dataclass(frozen=True)
class Request:
    """What the gate is to judge: `model` compiled under `name` with `sample`; everything is written below `out`."""

    model: Path
    sample: Path
    name: str
    out: Path
    convert_flags: tuple[str, ...] = ()
    serve_flags: tuple[str, ...] = ()
    load_flags: tuple[str, ...] = ()


def stages(request: Request, onnxpress: Command = ONNXPRESS) -> Iterator[Stage]:
    """Runs one stage after the other and yields each as it ends; the last one is the first that failed.

    Each stage is a command of `onnxpress` in a process of its own, with its output in `out`/STAGE.log. The server is
    stopped when the iterator ends or is closed.
    """
    models = request.out / "models"
    convert: Command = [
        "convert",
        request.model,
        "--sample",
        request.sample,
        "--name",
        request.name,
        "--repository",
        models,
    ]
    stage = _run("convert", [*onnxpress, *convert, *request.convert_flags], request.out)
    yield stage
    if not stage.passed:
        return
    package = package_folder(request.out, request.name) or models / request.name
    stage = _run("verify", [*onnxpress, "verify", package], request.out)
    yield stage
    if not stage.passed:
        return
    serve = [*onnxpress, "serve", "--repository", models, *LOCAL, "--drain-wait-s", "0", *request.serve_flags]
    began = monotonic()
    with Served(serve, request.out / "server.log") as server:
        try:
            port = server.port(request.name, READY_S)
        except NotServedError as error:
            yield Stage("serve", 1, round(monotonic() - began), str(error))
            return
        yield Stage("serve", 0, round(monotonic() - began))
        load: Command = [
            "loadtest",
            "steady",
            "--target",
            f"127.0.0.1:{port}",
            "--model",
            request.name,
            "--package",
            package,
        ]
        report: Command = ["--report-dir", request.out / "report", "--headless"]
        yield _run(LOAD, [*onnxpress, *load, *report, *request.load_flags], request.out)


def _run(name: str, command: Command, out: Path) -> Stage:
    """One command to its end. Why it failed is in the load test's report, or else the last line of its output."""
    log, began = out / f"{name}.log", monotonic()
    with log.open("wb") as file:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
    seconds = round(monotonic() - began)
    if code == 0:
        return Stage(name, 0, seconds)
    report = read_report(out) if name == LOAD else None
    reason = load_failure(report) if report else ""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return Stage(name, code, seconds, reason or (lines[-1] if lines else f"exit code {code} without a word"))
