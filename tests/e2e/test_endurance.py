"""After millions of requests and thousands of connections the server is what it was: memory, descriptors, threads."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.bodies import Bodies, numeric
from benchmarks.generator import HEADERS, METHOD
from tests.answers import number_rows
from tests.inference_calls import DEADLINE_S, connected, request
from tests.server_process import Footprint, ServerProcess

pytestmark = pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is a system package (nghttp2-client)")
# What the server settles at: caches are filled and the allocator has seen its busiest moment.
WARM_REQUESTS, WARM_CONNECTIONS = 100_000, 2_000
AT_ONCE = 500  # connections
GROWTH = 1.05


def load(server: ServerProcess, bodies: Bodies, requests: int, *flags: str) -> None:
    """So many requests by h2load, every one answered."""
    headers = [word for header in HEADERS for word in ("-H", header)]
    command = ["h2load", f"-n{requests}", *flags, *headers, "-d", str(bodies.first), f"http://{server.grpc}{METHOD}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    assert f"{requests} succeeded, 0 failed" in said, said


def connect(server: ServerProcess, bodies: Bodies, connections: int) -> None:
    """So many connections, AT_ONCE at a time, one request on each."""
    for _ in range(connections // AT_ONCE):
        load(server, bodies, AT_ONCE, f"-c{AT_ONCE}", "-m1")


def at_rest(server: ServerProcess, expected: Footprint | None = None) -> Footprint:
    """What the server holds once it has noticed that the clients left, for which further requests give it time."""
    with connected(server.grpc) as stub:
        for _ in range(1_000):
            stub.ModelInfer(request({"input": number_rows(1)}), timeout=DEADLINE_S)
            seen = server.footprint()
            if seen.descriptors < AT_ONCE and (expected is None or seen.descriptors <= expected.descriptors):
                break
    return seen


@pytest.mark.parametrize(
    ("requests", "connections"),
    [
        (100_000, 2_000),
        pytest.param(2_000_000, 20_000, marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
    ],
)
def test_nothing_grows(start: Callable[..., ServerProcess], tmp_path: Path, requests: int, connections: int) -> None:
    """Memory within 5 %, and not one descriptor or thread more."""
    # What may wait is bounded by streams here, not by the forecast: a refusal would be a request that was not served.
    server = start("numbers", flags=("--latency-target-ms", "60000"), tried=True)
    bodies = numeric(tmp_path, "numbers", 1)
    load(server, bodies, WARM_REQUESTS, "-c8", "-m16")
    connect(server, bodies, WARM_CONNECTIONS)
    idle = at_rest(server)
    load(server, bodies, requests, "-c8", "-m16")
    connect(server, bodies, connections)
    now = at_rest(server, idle)
    assert (now.descriptors, now.threads) == (idle.descriptors, idle.threads)
    assert now.rss <= GROWTH * idle.rss, (idle, now)
