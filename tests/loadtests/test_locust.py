"""Plain locust, without our command, runs the same suites: several processes, one measurement."""

import subprocess
import sys

from tests.loadtests.conftest import ENVIRONMENT, ROOT, SHORT, finish


def test_locust_itself_runs_a_suite_in_two_processes(proof, repository, tmp_path):
    """`locust -f loadtests/locustfile.py --processes 2`: the schedule is shared, the samples are merged, exit 0."""
    server = proof("--live", "1")
    command = [
        sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--processes", "2", "--only-summary",
        "--suite", "steady", "--target", server.target, "--package", str(repository / "churn" / "1"), "--connections",
        "5", "--rps", "200", "--duration", "2", "--arrivals", "constant", "--report-dir", str(tmp_path / "report"),
        *SHORT,
    ]  # fmt: skip
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    run = finish(process, tmp_path / "report")
    assert run.exit == 0, run.out + run.err
    assert run.report["total"]["due"] == 400
    assert len(run.report["generator"]["processes"]) == 2
    assert "Aggregated" in run.err + run.out, "locust's own table is missing"
