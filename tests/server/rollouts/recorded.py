"""Windows as a server records them, drawn at random, and the rollout that they are of."""

import numpy as np

from onnxpress.server.rollouts.decide import decide
from onnxpress.server.rollouts.guards import Guards
from onnxpress.server.rollouts.records import Entry
from onnxpress.server.rollouts.windows import BINS, Arm, Window
from onnxpress.server.versions.rollout import Plan, Rollout, RolloutAction, Step, begin

ROLLOUT = begin(8, 3, Plan((Step(10, 60, 300), Step(50, 60, 300))), 1.8e9)


def arm(rng: np.random.Generator, calls: int, failing: float) -> Arm:
    errors, runs = int(rng.binomial(calls, failing)), int(rng.integers(0, calls + 1))
    return Arm(
        calls=calls,
        errors=errors,
        checked=calls - errors,
        runs=runs,
        slow_q90=int(rng.binomial(runs, 0.1)),
        bins=tuple(rng.multinomial(calls - errors, [1 / BINS] * BINS).tolist()),
    )


def window(rng: np.random.Generator, failing: float = 0.0) -> Window:
    """A second of 50 calls, 10 % of them to a candidate of whose calls a share is `failing`."""
    champion, candidate = int(rng.poisson(45)), int(rng.poisson(5))
    flips = int(rng.binomial(candidate, 0.05))
    return Window(arm(rng, champion, 0.001), arm(rng, candidate, failing), candidate, flips)


def served(seed: int, count: int, failing: float = 0.0) -> list[Entry]:
    """The windows of a server that decides after each, as in controller.py; it ends with the rollout."""
    rng, guards, rollout, entries = np.random.default_rng(seed), Guards(), ROLLOUT, []
    since = 0.0
    for seq in range(1, count + 1):
        counted, now = window(rng, failing), seq * 1.001
        guards.add(counted)
        decision = decide(rollout, guards.readings(), guards.step_calls, now - since)
        action = decision.action
        entries.append(
            Entry(
                seq, 1.8e9 + now, rollout.step, 8 + rollout.step, 1.001, now - since,
                action=action.value if action else "", window=counted,
            )
        )  # fmt: skip
        if action is RolloutAction.ADVANCE:
            rollout, since = rollout.after(action, decision.reason, now), now
            guards.start_step()
        elif action is not None:
            break
    return entries


def rollout_of(entries: list[Entry]) -> Rollout:
    """The rollout as it is after these windows."""
    return Rollout(ROLLOUT.id, ROLLOUT.candidate, ROLLOUT.plan, entries[-1].step, ROLLOUT.step_since)
