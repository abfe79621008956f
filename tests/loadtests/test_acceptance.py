"""The promises of README under load; each takes minutes and a quiet machine."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.loadtests.conftest import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
ENOUGH = ("--samples-min", "1000")  # a heavy model answers too few requests a second for 10,000 in a test's time


def load(*words: str) -> tuple[int, str, dict[str, Any]]:
    """(exit code, output, report) of `ci/load.sh`."""
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [str(ROOT / "ci" / "load.sh"), *words]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    named = [word for word in words if word != "--apart"]
    suite = "ramp" if "capacity" in named else named[1]
    report = ROOT / "build" / "load" / suite / "report.json"
    return run.returncode, run.stdout + run.stderr, json.loads(report.read_text()) if report.exists() else {}


def test_a_thousand_requests_a_second_for_a_minute():
    """`make load`: p50, p95 and p99 below 100 ms, no error, exit 0, lag shown."""
    code, said, report = load("light", "steady", "--rps", "1000", "--duration", "60", "--headless")
    assert code == 0, said
    assert report["total"]["answered"] > 58_000
    assert report["total"]["errors"] == 0
    assert "generator: lag p99" in said


def test_ten_times_the_load_is_refused_politely_and_over_after_two_seconds():
    """Accepted requests stay below 100 ms, all others are RESOURCE_EXHAUSTED with a time, calm is calm again."""
    flags = ("--rows", "100", "--rps", "60", "--factors", "10", "--duration", "30", "--headless")
    code, said, report = load("heavy", "spike", *flags, *ENOUGH)
    assert code == 0, said
    spike = next(phase for phase in report["phases"] if phase["name"] == "spike 10x")
    assert set(spike["outcomes"]) == {"OK", "REFUSED"}
    assert spike["p99_ms"] < 100


def test_the_ramp_and_h2load_name_the_same_capacity():
    """Open loop with every objective held against closed loop at saturation: within 20 %."""
    code, said, _ = load("--apart", "heavy", "capacity", "--headless")
    assert code == 0, said
    assert "ratio" in said


def test_an_overload_keeps_its_goodput():
    """At 2, 5 and 10 times the capacity that the ramp has found: goodput, p99, critical requests, recovery, memory."""
    ramp = ("--rows", "100", "--rps", "20", "--duration", "5", "--headless", *ENOUGH)
    code, said, report = load("--apart", "heavy", "ramp", *ramp)
    assert code == 0, said
    capacity = report["ramp"]["capacity"]
    flags = ("--rows", "100", "--capacity", f"{capacity:.1f}", "--duration", "60", "--headless")
    code, said, report = load("--apart", "heavy", "overload", *flags, *ENOUGH)
    assert code == 0, said
    bursts = [phase for phase in report["phases"] if phase["refusals"] and phase["judged"]]
    assert [phase["factor"] for phase in bursts] == [2, 5, 10]
    assert all(set(phase["outcomes"]) == {"OK", "REFUSED"} for phase in bursts)
    ready, most = map(int, re.search(r"server: (\d+) MiB when ready, (\d+) MiB at most", said).groups())
    assert most <= 1.1 * ready


def test_swaps_under_load_keep_the_barrier():
    """A swap every two seconds for half a minute: no failure, no breach, p99 within 1.5 times."""
    code, said, report = load("light", "swap", "--rps", "500", "--duration", "30", "--swap-every", "2", "--headless")
    assert code == 0, said
    assert len(report["swaps"]) >= 13
