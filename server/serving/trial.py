"""The first load of a version, in a process of its own with limits: what hangs, explodes or dies there harms nobody.

A 66-byte model can ask for unbounded memory, and loads of minutes have been seen.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from server.errors import OnnxpressError, RefusedPackageError
from server.settings import MIB, Settings

OK, REFUSED = 0, 3
NICE = 10  # the trial must not slow the requests that are being answered


def try_load(settings: Settings, model: str, version: int) -> None:
    """Returns when the version loads, answers its golden rows and stays in its limits. Raises RefusedPackageError."""
    order = {
        "folder": str((settings.repository / model / str(version)).resolve()),  # the child works elsewhere
        "model": model,
        "version": version,
        "latency_target_ms": settings.latency_target_ms,
        "batch_rows_max": settings.batch_rows_max,
        "model_mib_max": settings.model_mib_max,
        "load_mib_max": settings.load_mib_max,
    }
    command = [sys.executable, "-m", "server.serving.trial"]
    try:
        child = subprocess.run(  # noqa: S603 -- our own module, the order goes in by standard input
            command,
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=settings.load_seconds_max,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    except subprocess.TimeoutExpired as error:
        raise RefusedPackageError(
            f"version {version} took longer than {settings.load_seconds_max} s to load"
        ) from error
    if child.returncode == REFUSED:
        raise RefusedPackageError(child.stdout.strip() or "refused without a reason")
    if child.returncode != OK:
        why = child.stderr.strip().splitlines()
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit {child.returncode}"
        raise RefusedPackageError(
            f"version {version} ended its trial process ({how}; memory limit {settings.load_mib_max} MiB)"
            + (f": {why[-1]}" if why else "")
        )


def main() -> int:
    """The child: one load, then the verdict as exit code, the reason on standard output."""
    order = json.load(sys.stdin)
    os.nice(NICE)
    limit = order["load_mib_max"] * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # Imported under the limit: their memory counts too, and the parent must not pay for them when it imports us.
    from server.models.package import read_package  # noqa: PLC0415
    from server.serving.loader import Loader  # noqa: PLC0415

    try:
        package = read_package(Path(order["folder"]), order["model"], order["version"], order["model_mib_max"])
        Loader(order["latency_target_ms"], order["batch_rows_max"]).load(package)
    except OnnxpressError as refusal:
        print(refusal)  # noqa: T201 -- standard output is the answer to the parent
        return REFUSED
    except MemoryError:
        print(f"loading it takes more than {order['load_mib_max']} MiB")  # noqa: T201
        return REFUSED
    return OK


if __name__ == "__main__":
    sys.exit(main())
