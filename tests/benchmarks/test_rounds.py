"""A whole small measurement: real h2load, the real front, real process accounting."""

import shutil
from pathlib import Path

import pytest

from benchmarks import bodies
from benchmarks.children import Child, ChildError
from benchmarks.generator import Generator, GeneratorError, Shape
from benchmarks.rounds import Cell, Plan, side_by_side
from benchmarks.targets import Echo

TOOLS = shutil.which("h2load") is None or shutil.which("cc") is None
SHORT = Plan(rounds=2, seconds=0.2, warm_s=0.1, neighbour_s=0.2)


@pytest.mark.skipif(TOOLS, reason="needs h2load and a C compiler, as `make bench` does")
def test_echo_is_measured_round_by_round(tmp_path: Path) -> None:
    """Each round gives one run with answers, ordered quantiles and CPU time; the child is gone afterwards."""
    single = bodies.numeric(tmp_path, "light", 1)
    told: list[str] = []
    with Echo(tmp_path) as echo:
        runs = side_by_side(
            Generator(tmp_path), Cell("light", 1, Shape(2, 2), [(echo, single)]), SHORT, told.append
        )["echo"]  # fmt: skip
    assert len(runs) == SHORT.rounds
    for run in runs:
        assert run.answered > 0
        assert run.refused == 0
        assert 0 < run.p50 <= run.p95 <= run.p99 <= run.p99_9
        assert run.generator_cpu_s > 0
    assert told[0].startswith("  light, 1 row, 2x2: echo ")
    with pytest.raises(GeneratorError):
        echo.check(single)


def test_a_child_that_ends_is_told_with_its_log(tmp_path: Path) -> None:
    """What it said before it ended is in the error."""
    child = Child(["sh", "-c", "echo no port for you; exit 3"], tmp_path / "log")
    with pytest.raises(ChildError, match="no port for you"):
        child.wait_for("listening")
    child.stop()


def test_stopping_takes_grandchildren_along(tmp_path: Path) -> None:
    """A server's workers do not outlive it, even when it leaves them behind."""
    child = Child(["sh", "-c", "sleep 600 & echo worker $!; wait"], tmp_path / "log")
    worker = int(child.wait_for(r"worker (\d+)")[1])
    child.stop()
    assert not Path(f"/proc/{worker}").exists() or "zombie" in Path(f"/proc/{worker}/status").read_text()
