"""A server with something planted before it starts: `python -m tests.e2e.planted_server WHAT FLAGS…`.

shares: of every model with two versions the one that is not live has a tenth of the calls. stuck deploys: a deploy
never ends. no pygrpc-native: it cannot be imported. dying
pumps: a call to the model `die-once` kills the pump that receives it, one to `die-always` every pump from then on.
recorded batches: what the rollouts' controller is told of each run is appended to the file in BATCHES_FILE.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from onnxpress.__main__ import main
from onnxpress.server.front.calls import Calls
from onnxpress.server.rollouts.collector import Buffer, Ran, Report
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


def plant_dying_pumps() -> None:
    from onnxpress.server.front.native import Receiver  # here, since another plant must not import it

    for receiver in (Receiver, Calls):
        plant_dying_receiver(receiver)


def plant_dying_receiver(receiver: type[Any]) -> None:
    original = receiver.receive
    dying = threading.Event()

    def receive(self: Any, most: int) -> Any:
        if dying.is_set():
            raise SystemExit("planted")
        events = original(self, most)
        payloads = b"".join(event[3] or b"" for event in events or ())
        if b"die-always" in payloads:
            dying.set()
        if b"die-" in payloads:
            raise SystemExit("planted")
        return events

    receiver.receive = receive


def plant_recorded_batches() -> None:
    original = Buffer.take
    file = Path(os.environ["BATCHES_FILE"]).open("a")  # noqa: SIM115 -- for as long as the process lives

    def take(self: Buffer) -> dict[str, list[Report]]:
        taken = original(self)
        tick = [
            (one.rows, one.calls, one.took_ns, [bytes(flat).hex() for flat in one.outputs or ()])
            for reports in taken.values()
            for one in reports
            if isinstance(one, Ran)
        ]
        file.write(json.dumps(tick) + "\n")
        file.flush()
        return taken

    Buffer.take = take  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    "dying pumps": plant_dying_pumps,
    "shares": plant_shares,
    "stuck deploys": plant_stuck_deploys,
    "no pygrpc-native": plant_no_pygrpc_native,
    "recorded batches": plant_recorded_batches,
}

if __name__ == "__main__":
    PLANTS[sys.argv[1]]()
    sys.exit(main(["serve", *sys.argv[2:]]))
