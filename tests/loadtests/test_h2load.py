"""h2load on the same server, closed loop at a low rate, as an independent measurement."""

import re
import shutil
import subprocess

import pytest

from onnxpress.loadtests.workload.packages import read_package
from onnxpress.loadtests.workload.payloads import pool

MEAN = re.compile(r"time for request:\s+(?:[\d.]+(?:us|ms|s)\s+){2}([\d.]+)(us|ms|s)")
MS = {"us": 1e-3, "ms": 1.0, "s": 1000.0}


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is a system package (nghttp2-client)")
def test_h2load_reads_the_same_latency(proof, loadtest, repository, tmp_path):
    """One request at a time against a server of 80 ms: both means within 10 %."""
    server = proof("--live", "1", "--delay-ms", "80")
    body = pool([read_package(repository / "churn" / "1")], 1, None, seed=1, size=1)[0].body
    (tmp_path / "body").write_bytes(b"\0" + len(body).to_bytes(4, "big") + body)
    command = [
        "h2load", "-c", "1", "-m", "1", "-n", "25", "-H", "content-type: application/grpc", "-H", "te: trailers",
        "-d", str(tmp_path / "body"), f"http://{server.target}/inference.GRPCInferenceService/ModelInfer",
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "25 succeeded" in said
    value, unit = MEAN.search(said).groups()
    theirs = float(value) * MS[unit]
    flags = ("--rps", "8", "--duration", "4", "--connections", "1", "--arrivals", "constant", "--samples-min", "20")
    run = loadtest("steady", server, *flags)
    ours = run.report["total"]["mean_ms"]
    assert run.exit == 0, run.out
    assert theirs >= 80
    assert ours == pytest.approx(theirs, rel=0.10)
