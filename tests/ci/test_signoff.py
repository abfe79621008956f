"""What a sign-off says: read from the files of a run, and nothing else."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from onnxpress.ci.signoff import Stage, Verdict, load_failure, sign_off, verdict_of, write
from tests.documented import check_documented

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PASSED = [Stage(name, 0, 3) for name in ("convert", "verify", "serve", "load")]
CHECKS = [
    {"name": "p50", "where": "steady", "measured": 5.0, "relation": "<", "limit": 9.0, "unit": "ms", "held": True},
    {"name": "p99", "where": "steady", "measured": 50.0, "relation": "<", "limit": 9.0, "unit": "ms", "held": False},
]
REPORT: dict[str, Any] = {
    "verdict": "broken",
    "invalid_reasons": ["the generator lags"],
    "checks": CHECKS,
    "total": {"due": 10, "answered": 9, "errors": 1, "p50_ms": 5.0, "p95_ms": 7.0, "p99_ms": 50.0, "rows": 10},
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run with a package of two files and a report."""
    package = tmp_path / "models" / "tiny" / "1"
    package.mkdir(parents=True)
    (package / "model.onnx").write_bytes(b"graph")
    (package / "manifest.json").write_bytes(b"{}")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(REPORT))
    return tmp_path


@pytest.mark.parametrize(
    ("stages", "verdict"),
    [
        (PASSED, Verdict.SIGNED_OFF),
        (PASSED[:3], Verdict.REFUSED),
        ([Stage("convert", 3, 1, "refused")], Verdict.REFUSED),
        ([Stage("convert", 4, 1, "killed")], Verdict.REFUSED),
        ([*PASSED[:3], Stage("load", 1, 60, "p99")], Verdict.REFUSED),
        ([*PASSED[:3], Stage("load", 4, 60, "lag")], Verdict.INVALID),
    ],
)
def test_the_verdict_is_that_of_the_last_stage(stages, verdict):
    """Signed off when the load test passed; invalid for its exit code 4 alone; refused otherwise."""
    assert verdict_of(stages) is verdict


def test_the_digests_are_those_of_the_files(out):
    """Every file of the package is named with the SHA-256 of its bytes."""
    document = sign_off(out, "tiny", PASSED, NOW)
    assert document["version"] == 1
    assert document["sha256"] == {
        "manifest.json": hashlib.sha256(b"{}").hexdigest(),
        "model.onnx": hashlib.sha256(b"graph").hexdigest(),
    }


def test_the_document_has_the_documented_shape(out):
    """The keys and types of `onnxpress.gate/v1` in docs/cli.md."""
    document = sign_off(out, "tiny", PASSED, NOW)
    check_documented(document)
    assert document["finished_at"] == "2026-03-04T05:06:07.000Z"
    assert document["stages"][0] == {"stage": "convert", "status": "passed", "exit": 0, "seconds": 3, "reason": ""}


def test_the_figures_are_those_of_the_report(out):
    """The load test's verdict, what it broke, why it is invalid, and its totals."""
    told = sign_off(out, "tiny", PASSED, NOW)["load_test"]
    assert told["verdict"] == "broken"
    assert told["broken"] == [CHECKS[1]]
    assert told["invalid_reasons"] == ["the generator lags"]
    assert {name: told[name] for name in ("due", "answered", "p99_ms")} == {"due": 10, "answered": 9, "p99_ms": 50.0}
    assert load_failure(REPORT) == "steady: p99; the generator lags"


def test_a_run_that_failed_early_has_neither_package_nor_figures(tmp_path):
    """What is not there is null or empty."""
    document = sign_off(tmp_path, "tiny", [Stage("convert", 3, 1, "not proved")], NOW)
    assert (document["version"], document["sha256"], document["load_test"]) == (None, {}, None)
    assert document["stages"][0]["status"] == "failed"
    assert document["stages"][0]["reason"] == "not proved"


def test_a_sign_off_replaces_an_earlier_one(tmp_path):
    """signoff.json is the newest document, and nothing else is left."""
    write(tmp_path, {"verdict": "refused"})
    write(tmp_path, {"verdict": "signed off"})
    assert json.loads((tmp_path / "signoff.json").read_text()) == {"verdict": "signed off"}
    assert [file.name for file in tmp_path.iterdir()] == ["signoff.json"]
