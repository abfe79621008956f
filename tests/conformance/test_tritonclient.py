"""tritonclient, sync and asyncio, against both fronts; what it must get is in triton_checks.py and error_table.py."""

import json
import subprocess
import sys

import pytest

from tests.conformance.error_table import ROWS
from tests.conformance.triton_checks import CHECKS
from tests.model_repository import Models
from tests.server_process import PATIENCE_S, ROOT, ServerProcess


@pytest.fixture(scope="module")
def report(server: ServerProcess, models: Models) -> dict[str, str]:
    """Every check's outcome on this front, from one child process."""
    command = [sys.executable, "-m", "tests.conformance.triton_checks", server.grpc, str(models.root)]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)
    assert child.returncode == 0, child.stderr
    outcome: dict[str, str] = json.loads(child.stdout)
    return outcome


@pytest.mark.parametrize("name", CHECKS)
def test_client(report: dict[str, str], name: str) -> None:
    """An unchanged tritonclient gets through."""
    assert not report[name], report[name]


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_error(report: dict[str, str], name: str) -> None:
    """A wrong request gets the code of the table, and a message that names field, expected and got."""
    assert not report[f"error: {name}"], report[f"error: {name}"]


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_error_in_a_stream(report: dict[str, str], name: str) -> None:
    """Inside a stream the same message comes in the place of the answer."""
    assert not report[f"streamed error: {name}"], report[f"streamed error: {name}"]


def test_log_is_quiet(report: dict[str, str], server: ServerProcess) -> None:
    """Nothing that a client may send makes the server log a trace."""
    assert report
    assert "Traceback" not in server.log
