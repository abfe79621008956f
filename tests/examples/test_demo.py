"""`make demo` in its short form, run as its user runs it, and its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 280


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict]:
    """What one run printed and the figures it wrote; it ended well."""
    folder = tmp_path_factory.mktemp("demo")
    report = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "examples.churn", "--folder", folder / "run", "--seconds", "1", "--json", report],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(report.read_text())


def test_both_versions_are_proved(told: tuple[str, dict]) -> None:
    """Parity was checked on more rows than the sample has, and none was outside."""
    parities = told[1]["parity"]
    assert [parity["version"] for parity in parities] == [1, 2]
    assert [parity["estimator"] for parity in parities] == ["XGBClassifier", "HistGradientBoostingClassifier"]
    for parity in parities:
        assert parity["exact"]
        assert parity["outside"] == 0
        assert parity["rows"] > 1000
        assert 0.8 < parity["holdout_auc"] < 0.9


def test_the_served_answer_is_the_originals(told: tuple[str, dict]) -> None:
    """Customers of the holdout get the original pipeline's probability, to float32."""
    figures = told[1]
    assert figures["customers_compared"] == 300
    assert 0 < figures["served_worst"] < 1e-6
    assert all(abs(c["original"] - c["served"]) < 1e-6 for c in figures["customers"])
    assert len({round(c["served"], 6) for c in figures["customers"]}) > 1


def test_the_load_was_answered_rightly(told: tuple[str, dict]) -> None:
    """Calls of one row and of a hundred were all answered, bit for bit as ONNX Runtime does it offline."""
    one, hundred = told[1]["speed"]
    for part in (one, hundred):
        assert part["calls"] > 100
        assert part["failed"] == part["wrong"] == 0
        assert part["versions"] == {"1": part["calls"]}
        p50, p95, p99 = part["quantiles_ms"]
        assert 0 < p50 <= p95 <= p99
    assert one["rows"] == one["calls"]
    assert hundred["rows"] == 100 * hundred["calls"]


def test_nothing_was_lost_in_the_swap(told: tuple[str, dict]) -> None:
    """Both versions answered, no call failed, each version only when it was its turn."""
    before, deploying, deployed, rolling, rolled = told[1]["phases"]
    for part in told[1]["phases"]:
        assert part["failed"] == part["wrong"] == 0
    assert set(before["versions"]) == {"1"}
    assert set(deployed["versions"]) == {"2"}
    assert set(rolled["versions"]) == {"1"}
    assert set(deploying["versions"]) | set(rolling["versions"]) <= {"1", "2"}
    for barrier in told[1]["barriers"]:
        assert barrier["checked"] > 100
        assert barrier["stale"] == barrier["flips"] == 0
    assert [barrier["label"] for barrier in told[1]["barriers"]] == ["deploy 2", "rollback to 1"]
    assert told[1]["errors"] == {}


def test_rollouts_end_by_themselves(told: tuple[str, dict]) -> None:
    """Exchanged labels are taken out within seconds, with the reason; the better version is promoted; no call fails."""
    exchanged, better = told[1]["rollouts"]
    assert (exchanged["version"], exchanged["state"], exchanged["live"]) == (3, "rolled back", 1)
    assert exchanged["reason"].split(":")[0] in ("disagree", "scores")
    assert exchanged["seconds"] < 30
    assert (better["version"], better["state"], better["live"]) == (2, "promoted", 2)
    for part, version in zip(told[1]["shares"], ("3", "2"), strict=True):
        assert part["failed"] == part["wrong"] == 0
        assert part["versions"]["1"] > 0
        assert part["versions"][version] > 0


def test_what_people_see_is_what_was_measured(told: tuple[str, dict]) -> None:
    """The tables hold the report's figures, the history names who changed what, and the server ended with 0."""
    text, figures = told
    for part in (*figures["speed"], *figures["phases"], *figures["shares"]):
        assert f"{part['calls']:,}" in text
    assert "deploy   1 -> 2     epoch 1  ok  by demo  'better on the holdout'" in text
    assert "rollback 2 -> 1     epoch 2  ok  by demo" in text
    assert figures["exit_code"] == 0
    assert "Every promise held" in text
    assert "BROKEN" not in text
