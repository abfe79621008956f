"""The rate that a client in C reaches: h2load, where it is installed (Debian: nghttp2-client)."""

import re
import shutil
import struct
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from examples.churn.calls import METHOD
from examples.churn.server import Served

CONNECTIONS, STREAMS = 8, 16
FINISHED = re.compile(r"finished in [\d.]+\w+, ([\d.]+) req/s")
DONE = re.compile(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed")
# h2load knows HTTP statuses only, which are 200 for gRPC errors too, so the server's metrics are compared.
OK = re.compile(r'^onnxpress_requests_total\{code="OK".*\} ([\d.e+]+)$', re.MULTILINE)
SLACK_S = 30.0


def ceiling(server: Served, payload: bytes, seconds: float) -> float | None:
    """Calls answered OK per second, all with the same request; None without h2load.

    Raises RuntimeError when h2load fails or the server did not answer OK to what h2load counts.
    """
    h2load = shutil.which("h2load")
    if h2load is None:
        return None
    with tempfile.NamedTemporaryFile() as body:
        # gRPC's frame: not compressed, length, message.
        Path(body.name).write_bytes(struct.pack(">BI", 0, len(payload)) + payload)
        command = [h2load, "-t1", f"-c{CONNECTIONS}", f"-m{STREAMS}", "-D", str(max(1, round(seconds)))]
        command += ["-d", body.name, "-H", "content-type: application/grpc", "-H", "te: trailers"]
        before = answered(server)
        done = subprocess.run(
            [*command, f"http://{server.grpc}{METHOD}"],
            capture_output=True, text=True, check=False, timeout=seconds + SLACK_S,
        )  # fmt: skip
    rate, counts = FINISHED.search(done.stdout), DONE.search(done.stdout)
    if done.returncode or rate is None or counts is None or int(counts[2]):
        raise RuntimeError(f"h2load ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    missing = int(counts[1]) - (answered(server) - before)
    if missing > 0:
        raise RuntimeError(f"h2load counts {counts[1]} calls, of which the server answered {missing} not with OK")
    return float(rate[1])


def answered(server: Served) -> int:
    """Calls answered OK since the server started."""
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=SLACK_S) as page:
        text = page.read().decode()
    return round(sum(float(value) for value in OK.findall(text)))
