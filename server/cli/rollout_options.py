"""The options of `onnxpress deploy` that make a rollout of it, and how a rollout is printed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from onnxpress.cli.output import printable

if TYPE_CHECKING:
    from onnxpress.protos import admin_pb2 as pb

BAKE_S, CALLS_MIN = 300, 500
NEXT_WEIGHT = 50.0


@dataclass(frozen=True)
class PlanOptions:
    """What --canary and the options beside it say; steps: weights in per cent."""

    steps: tuple[float, ...] = ()
    bake_s: int = BAKE_S
    calls_min: int = CALLS_MIN
    without_evidence: bool = False
    off: tuple[str, ...] = ()
    floors: tuple[tuple[str, float], ...] = ()

    @property
    def given(self) -> bool:
        return bool(self.steps)

    def message(self) -> "pb.RolloutPlan | None":
        """None without --canary or --steps."""
        from onnxpress.protos import admin_pb2 as pb

        if not self.given:
            return None
        plan = pb.RolloutPlan(advance_without_evidence=self.without_evidence)
        for weight in self.steps:
            plan.steps.add(weight=weight, baking_s=self.bake_s, calls_min=self.calls_min)
        for guard in self.off:
            plan.guards.add(guard=guard, off=True)
        for guard, floor in self.floors:
            plan.guards.add(guard=guard, floor=floor)
        return plan

    def text(self) -> str:
        weights = ", then ".join(f"{weight:g} %" for weight in self.steps)
        return f"{weights}, then all calls; each step takes {self.bake_s} s and {self.calls_min} calls at least"


def plans_rollout(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of a rollout, and passes them as `plan`."""

    @click.option("--canary", type=float, metavar="PERCENT", help=f"begin with this share, then {NEXT_WEIGHT:g} %")
    @click.option("--steps", metavar="P,P,…", help="the share of each step in per cent, instead of --canary")
    @click.option(
        "--bake-s",
        type=click.IntRange(0),
        default=BAKE_S,
        show_default=True,
        metavar="S",
        help="the least time of a step, in seconds",
    )
    @click.option(
        "--calls-min",
        type=click.IntRange(0),
        default=CALLS_MIN,
        show_default=True,
        metavar="N",
        help="the fewest calls of the candidate in a step",
    )
    @click.option("--advance-without-evidence", is_flag=True, help="advance by time alone, for models with few calls")
    @click.option("--guard-off", multiple=True, metavar="GUARD", help="switch a guard off")
    @click.option("--guard-floor", multiple=True, metavar="GUARD=X", help="what a guard tolerates, such as scores=0.4")
    @wraps(command)
    def with_plan(**options: Any) -> None:
        command(plan=_plan(options), **options)

    return with_plan


def _plan(options: dict[str, Any]) -> PlanOptions:
    """Takes the options of a rollout out of `options`."""
    canary, steps = options.pop("canary"), options.pop("steps")
    times = options.pop("bake_s"), options.pop("calls_min"), options.pop("advance_without_evidence")
    off, floors = options.pop("guard_off"), options.pop("guard_floor")
    if canary is not None and steps:
        raise click.UsageError("--canary and --steps exclude each other")
    if canary is None and not steps and (off or floors):
        raise click.UsageError("--guard-off and --guard-floor need --canary or --steps")
    return PlanOptions(_weights(canary, steps), *times, off, tuple(map(_floor, floors)))


def _weights(canary: float | None, steps: str | None) -> tuple[float, ...]:
    if canary is not None:
        return (canary, NEXT_WEIGHT) if canary < NEXT_WEIGHT else (canary,)
    try:
        return tuple(float(weight) for weight in steps.split(",")) if steps else ()
    except ValueError as error:
        raise click.UsageError(f"--steps must be numbers with commas between them, got {steps!r}") from error


def _floor(text: str) -> tuple[str, float]:
    guard, _, floor = text.partition("=")
    try:
        return guard, float(floor)
    except ValueError as error:
        raise click.UsageError(f"--guard-floor must be GUARD=NUMBER, got {text!r}") from error


def rollout_lines(model: "pb.GetDeploymentResponse") -> list[str]:
    """The newest rollout of a model: its state, what comes next, and the evidence of each guard."""
    from onnxpress.protos import deployment_pb2

    if not model.HasField("rollout"):
        return []
    rollout, progress = model.rollout, model.progress
    state = deployment_pb2.RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_").lower().replace("_", " ")
    head = f"  rollout of version {rollout.candidate}: {state}"
    if not model.HasField("progress"):
        return [f"{head}: {printable(rollout.reason)}"]
    step = rollout.steps[rollout.step]
    lines = [
        f"{head} at {step.weight:g} %, step {rollout.step + 1} of {len(rollout.steps)}, {progress.step_calls:,} calls",
        f"    next      {printable(progress.next)}",
    ]
    for one in progress.guards:
        proof = f", of no harm {one.absence:.1f} of {one.clears_at:.1f}" if one.HasField("absence") else ""
        lines.append(
            f"    {one.guard:<9} ln E of harm {one.evidence:.1f} of {one.convicts_at:.1f}{proof}: {printable(one.text)}"
        )
    return lines
