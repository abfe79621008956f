"""What h2load says is read strictly, and every request of it has a body of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bodies
from benchmarks.generator import GeneratorError, Shape, compile_shim, parse_log, parse_output
from onnxpress.protos.inference_pb2 import ModelInferRequest

OUTPUT = """starting benchmark...
spawning thread #0: 8 total client(s). Timing-based test with 0s of warm-up time and 2s of main duration.
finished in 2.00s, {rate} req/s, 10.25MB/s
requests: {total} total, {total} started, {total} done, {succeeded} succeeded, {failed} failed, {failed} errored
status codes: {succeeded} 2xx, 0 3xx, 0 4xx, {failed} 5xx
"""


def output(rate: str = "51179.00", succeeded: int = 102_358, failed: int = 0) -> str:
    return OUTPUT.format(rate=rate, total=succeeded + failed, succeeded=succeeded, failed=failed)


def test_requests_and_seconds_come_from_the_summary() -> None:
    """Seconds are requests over the printed rate, which is exact where the printed time is rounded."""
    requests, seconds = parse_output(output())
    assert requests == 102_358
    assert seconds == pytest.approx(2.0)


@pytest.mark.parametrize("said", [output(failed=3), output(rate="0.00", succeeded=0), "could not connect\n", ""])
def test_anything_but_success_is_no_measurement(said: str) -> None:
    """Failed requests, no requests and no summary each raise."""
    with pytest.raises(GeneratorError):
        parse_output(said)


def test_log_gives_microseconds_of_finished_requests(tmp_path: Path) -> None:
    """Requests that were cut off at the end have status -1 and no latency."""
    log = tmp_path / "log"
    log.write_text("1700000000000000\t200\t512\n1700000000000100\t200\t98\n1700000000000200\t-1\t7\n")
    assert parse_log(log).tolist() == [512, 98]


def test_log_with_another_status_is_no_measurement(tmp_path: Path) -> None:
    """A status that is neither 200 nor cut off is named."""
    log = tmp_path / "log"
    log.write_text("1700000000000000\t200\t512\n1700000000000100\t503\t98\n")
    with pytest.raises(GeneratorError, match="503"):
        parse_log(log)


def test_shape_names_itself() -> None:
    """Connections x streams, and the pace where there is one."""
    assert str(Shape(8, 16)) == "8x16"
    assert str(Shape(4, 4, 100)) == "4x4 at 400/s"


def test_bodies_of_a_run_have_one_length_and_their_own_ids(tmp_path: Path) -> None:
    """The file of bodies is whole requests end to end, each with other rows and another id."""
    made = bodies.write(
        tmp_path, "light", 2, [bodies.matrix("light", bodies.rows_of(n, 2), f"{n:04d}") for n in range(5)]
    )
    raw = made.all.read_bytes()
    messages = [
        ModelInferRequest.FromString(raw[at + 5 : at + made.size]) for at in range(0, len(raw), made.size)
    ]  # fmt: skip
    assert [message.id for message in messages] == ["0000", "0001", "0002", "0003", "0004"]
    assert len({message.raw_input_contents[0] for message in messages}) == 5
    assert raw.startswith(b"\0" + (made.size - 5).to_bytes(4, "big"))
    assert ModelInferRequest.FromString(made.one()) == messages[0]


def test_bodies_of_several_lengths_are_refused(tmp_path: Path) -> None:
    """h2load announces one length for all requests, so a run cannot mix them."""
    with pytest.raises(ValueError, match="one length"):
        bodies.write(tmp_path, "light", 1, [b"abc", b"abcd"])


def test_of_one_length_keeps_the_largest_group() -> None:
    """Text makes requests differ in length: the most frequent length stays."""
    assert bodies.of_one_length([b"a", b"bb", b"cc", b"d", b"ee"]) == [b"bb", b"cc", b"ee"]


READER = """
import os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
for count, offset in ((64, 0), (64, 0), (64, 0), (3, 0), (64, 2), (64, 0)):
    print(os.pread(file, count, offset).decode())
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="the shim needs a C compiler, and there is none")
def test_shim_gives_each_read_the_next_body_and_never_mixes_two(tmp_path: Path) -> None:
    """Whole reads go round the bodies; a read in pieces is the one file's own from beginning to end."""
    (tmp_path / "first").write_bytes(b"first")
    (tmp_path / "all").write_bytes(b"body0body1")
    done = subprocess.run(
        [sys.executable, "-c", READER, tmp_path / "first"],
        env={
            **os.environ, "LD_PRELOAD": str(compile_shim(tmp_path)), "OWN_BODIES": str(tmp_path / "all"),
            "OWN_BODY_SIZE": "5",
        },
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["body0", "body1", "body0", "fir", "rst", "body1"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="the shim needs a C compiler, and there is none")
def test_shim_without_bodies_stops_the_generator(tmp_path: Path) -> None:
    """A missing file ends the process: no run may silently send one body over and over."""
    environment = {
        **os.environ, "LD_PRELOAD": str(compile_shim(tmp_path)), "OWN_BODIES": str(tmp_path / "none"),
        "OWN_BODY_SIZE": "5",
    }  # fmt: skip
    done = subprocess.run(["true"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no bodies" in done.stderr
