"""One process holds tritonclient and our admin stubs: their descriptors do not collide."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import FRONTS
from tests.server_process import PATIENCE_S, ROOT, ServerProcess


@pytest.mark.parametrize("front", FRONTS)
def test_deploys_and_asks(start: Callable[..., ServerProcess], front: str) -> None:
    """What it deploys through our stubs is what its tritonclient is answered by; loads and unloads work too."""
    server = start("numbers/1", "numbers/2", front=front)
    command = [sys.executable, "-m", "tests.conformance.one_process", server.grpc, server.admin]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == [
        "1 1 1",
        "2 2 2",
        "1 1 3",
        "1,2",
        "False",
        "True",
        "[('numbers', '1', 'READY'), ('numbers', '2', 'UNAVAILABLE')]",
    ]
