"""A processor without AVX, which QEMU emulates: both engines run there and give the golden answers."""

import shutil
import subprocess
import sys

import pytest

from tests.model_repository import Models
from tests.server_process import ROOT

QEMU = shutil.which("qemu-x86_64")
# SSE4.2 without AVX: the least that numpy's wheels run on.
OLD = "Nehalem"

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 (qemu-user) is not installed"),
]


def emulated(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs this environment's Python on the old processor."""
    return subprocess.run(
        [str(QEMU), "-cpu", OLD, sys.executable, *command],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_the_processor_is_an_old_one() -> None:
    """Without AVX and AVX2; otherwise the test below says nothing."""
    script = "from numpy._core._multiarray_umath import __cpu_features__ as has; print(has['SSE42'], has['AVX'])"
    done = emulated("-c", script)
    assert done.stdout == "True False\n", done.stderr


def test_both_engines_give_the_golden_answers(models: Models) -> None:
    """`onnxpress verify` loads the version as a server does: golden rows in ONNX Runtime, then in the forest."""
    done = emulated("-m", "onnxpress", "verify", str(models.root / "heavy/1"))
    assert done.returncode == 0, done.stderr
    (engine,) = [line for line in done.stdout.splitlines() if line.startswith("engine")]
    assert "compiled forest from" in engine
