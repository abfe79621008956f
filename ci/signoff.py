"""The sign-off: which bytes passed which stages of the gate, with what figures. Read from the files of a run."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

SCHEMA = "onnxpress.gate/v1"
SIGNOFF = "signoff.json"
LOAD = "load"
MEASUREMENT_INVALID = 4  # exit code of `onnxpress loadtest`
FIGURES = ("due", "answered", "errors", "p50_ms", "p95_ms", "p99_ms")
Document = dict[str, Any]


class Verdict(StrEnum):
    """The outcome of the gate. INVALID: the load test was no valid measurement, so the model was not judged."""

    SIGNED_OFF = "signed off"
    REFUSED = "refused"
    INVALID = "invalid"


@dataclass(frozen=True)
class Stage:
    """A stage that has ended: the exit code of its command, whole seconds, and why it failed (empty: it passed)."""

    name: str
    exit: int
    seconds: int
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.exit == 0


def verdict_of(stages: Sequence[Stage]) -> Verdict:
    """The verdict on the stages that were run. A run is signed off only when its last stage, the load test, passed."""
    last = stages[-1]
    if last.passed and last.name == LOAD:
        return Verdict.SIGNED_OFF
    return Verdict.INVALID if (last.name, last.exit) == (LOAD, MEASUREMENT_INVALID) else Verdict.REFUSED


def package_folder(out: Path, model: str) -> Path | None:
    """The one version that the stage `convert` has written; None where it wrote none."""
    return next((folder for folder in sorted((out / "models" / model).glob("[0-9]*")) if folder.is_dir()), None)


def read_report(out: Path) -> Document | None:
    """The load test's report.json; None where it has not written one."""
    path = out / "report" / "report.json"
    if not path.exists():
        return None
    report: Document = json.loads(path.read_text(encoding="utf-8"))
    return report


def load_failure(report: Document) -> str:
    """Every broken objective and every reason why the measurement is invalid."""
    broken = [f"{check['where']}: {check['name']}" for check in report["checks"] if not check["held"]]
    return "; ".join([*broken, *report["invalid_reasons"]])


def sign_off(out: Path, model: str, stages: Sequence[Stage], now: datetime) -> Document:
    """The content of signoff.json in the shape `onnxpress.gate/v1`; digests and figures are read from `out`."""
    package, report = package_folder(out, model), read_report(out)
    files = sorted(file for file in package.iterdir() if file.is_file()) if package else []
    return {
        "schema": SCHEMA,
        "model": model,
        "version": int(package.name) if package else None,
        "verdict": verdict_of(stages),
        "finished_at": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "stages": [
            {"stage": stage.name, "status": "passed" if stage.passed else "failed"}
            | {name: value for name, value in asdict(stage).items() if name != "name"}
            for stage in stages
        ],
        "load_test": _load_test(report) if report else None,
    }


def _load_test(report: Document) -> Document:
    return {
        "verdict": report["verdict"],
        "invalid_reasons": report["invalid_reasons"],
        "broken": [check for check in report["checks"] if not check["held"]],
        **{name: report["total"][name] for name in FIGURES},
    }


def write(out: Path, document: Document) -> None:
    """Replaces signoff.json atomically, so that a reader never finds half of it."""
    temporary = out / f"{SIGNOFF}.tmp"
    temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    temporary.replace(out / SIGNOFF)
