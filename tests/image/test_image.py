import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(os.geteuid() != 0, reason="building an image without a Docker engine needs root")
def test_the_image_is_built_runs_and_keeps_its_promises():
    """What `make image-check` does: build, look inside, serve, deploy, read-only root, SIGTERM."""
    done = subprocess.run(
        [sys.executable, "-m", "image.image_check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"base", "image", "config", "contents", "run", "read-only"} <= said
