"""A server with something planted before it starts: `python -m tests.e2e.planted_server WHAT FLAGS…`.

shares: of every model with two versions the one that is not live has a tenth of the calls. stuck deploys: a deploy
never ends. no pygrpc-native: it cannot be imported.
"""

import sys
import threading
from dataclasses import replace
from itertools import count
from typing import Any

from onnxpress.__main__ import main
from onnxpress.server.serving.routing import CANARY, PLACES, Route, Share, Target
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.versions.deployer import Deployer

SALT = b"numbers/1"
BELOW = PLACES // 10


def shared(route: Route) -> Route:
    others = [lane for lane in route.lanes.values() if lane is not route.live]
    if route.live is None or not others:
        return route
    return replace(route, shares=(Share(BELOW, Target(others[0], CANARY)),), salt=SALT)


def plant_shares() -> None:
    original = Scheduler.replace_route
    Scheduler.replace_route = lambda self, route: original(self, shared(route))  # type: ignore[method-assign]


def plant_stuck_deploys() -> None:
    numbers = count(1)

    def stuck(*_: Any, **__: Any) -> Any:
        sys.stderr.write(f"stuck deploys: {next(numbers)}\n")
        sys.stderr.flush()
        threading.Event().wait()

    Deployer.deploy = stuck  # type: ignore[method-assign]


def plant_no_pygrpc_native() -> None:
    sys.modules["pygrpc_native"] = None  # type: ignore[assignment]  # so Python refuses to import it


PLANTS = {
    "shares": plant_shares,
    "stuck deploys": plant_stuck_deploys,
    "no pygrpc-native": plant_no_pygrpc_native,
}

if __name__ == "__main__":
    PLANTS[sys.argv[1]]()
    sys.exit(main(["serve", *sys.argv[2:]]))
