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
    """What --canary, --shadow, --ab and the options beside them say; steps: weights in per cent."""

    steps: tuple[float, ...] = ()
    bake_s: int = BAKE_S
    calls_min: int = CALLS_MIN
    without_evidence: bool = False
    off: tuple[str, ...] = ()
    floors: tuple[tuple[str, float], ...] = ()
    shadow: float = 0.0
    hold: bool = False

    @property
    def given(self) -> bool:
        return bool(self.steps)

    def message(self) -> "pb.RolloutPlan | None":
        """None without a rollout."""
        from onnxpress.protos import admin_pb2 as pb

        if not self.given:
            return None
        plan = pb.RolloutPlan(advance_without_evidence=self.without_evidence, shadow=self.shadow, hold=self.hold)
        for weight in self.steps:
            plan.steps.add(weight=weight, baking_s=self.bake_s, calls_min=self.calls_min)
        for guard in self.off:
            plan.guards.add(guard=guard, off=True)
        for guard, floor in self.floors:
            plan.guards.add(guard=guard, floor=floor)
        return plan

    def text(self) -> str:
        weights = ", then ".join(f"{weight:g} %" if weight else "copies only" for weight in self.steps)
        copies = f", with copies of {self.shadow:g} % of the live version's calls" if self.shadow else ""
        if self.hold and len(self.steps) == 1:
            return f"{weights}{copies}, until somebody decides"
        after = "held until somebody decides" if self.hold else "then all calls"
        least = f"each step takes {self.bake_s} s and {self.calls_min} calls at least"
        return f"{weights}, {after}{copies}; {least}"


def plans_rollout(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of a rollout, and passes them as `plan`."""

    @click.option("--canary", type=float, metavar="PERCENT", help=f"begin with this share, then {NEXT_WEIGHT:g} %")
    @click.option("--steps", metavar="P,P,…", help="the share of each step in per cent, instead of --canary")
    @click.option("--ab", type=float, metavar="PERCENT", help="this share until somebody decides: --canary with --hold")
    @click.option(
        "--shadow",
        type=click.FloatRange(0, 100),
        default=0.0,
        metavar="PERCENT",
        help="copy this share of the live version's calls; alone: the candidate answers copies only",
    )
    @click.option("--hold", is_flag=True, help="the last step lasts until somebody decides")
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
    canary, steps, ab = options.pop("canary"), options.pop("steps"), options.pop("ab")
    shadow, hold = options.pop("shadow"), options.pop("hold")
    times = options.pop("bake_s"), options.pop("calls_min"), options.pop("advance_without_evidence")
    off, floors = options.pop("guard_off"), options.pop("guard_floor")
    if sum([canary is not None, bool(steps), ab is not None]) > 1:
        raise click.UsageError("--canary, --steps and --ab exclude each other")
    weights = (ab,) if ab is not None else _weights(canary, steps)
    if not weights and (off or floors or hold) and not shadow:
        raise click.UsageError("--guard-off, --guard-floor and --hold need --canary, --steps, --ab or --shadow")
    if ab is not None or (shadow and not weights):
        hold = True
    return PlanOptions(weights or ((0.0,) if shadow else ()), *times, off, tuple(map(_floor, floors)), shadow, hold)


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
    weight = f"{step.weight:g} %" if step.weight else "0 %, copies only"
    lines = [
        f"{head} at {weight}, step {rollout.step + 1} of {len(rollout.steps)}, {progress.step_calls:,} calls",
        f"    next      {printable(progress.next)}",
    ]
    if progress.HasField("copies"):
        lines.append(f"    copies    {_copies(progress.copies)}")
    for one in progress.guards:
        proof = f", of no harm {one.absence:.1f} of {one.clears_at:.1f}" if one.HasField("absence") else ""
        lines.append(
            f"    {one.guard:<9} ln E of harm {one.evidence:.1f} of {one.convicts_at:.1f}{proof}: {printable(one.text)}"
        )
    return lines


def _copies(copies: "pb.Copies") -> str:
    if copies.none_because:
        return f"none: {printable(copies.none_because)}"
    return (
        f"{copies.share:.3g} % of the live version's calls; {copies.pairs:,} rows that both answered, {copies.flips:,} "
        f"with another label, scores differ by {copies.largest_difference:.3g} at most; {copies.dropped:,} rows dropped"
    )
