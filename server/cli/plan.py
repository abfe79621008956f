"""How `onnxpress deploy --dry-run` shows a planned rollout."""

from typing import TYPE_CHECKING

from onnxpress.cli.output import printable

if TYPE_CHECKING:
    from onnxpress.protos import admin_pb2 as pb

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def plan_lines(plan: "pb.PlanRolloutResponse") -> list[str]:
    """The rate that was measured, then each step with its times."""
    head = f"{plan.model}: version {plan.version} would be rolled out beside version {plan.live_version}"
    lines = [f"{head}; nothing has changed", f"  {_rate(plan)}"]
    for number, step in enumerate(plan.steps, 1):
        weight = f"{step.weight:g} %" if step.weight else "copies only"
        calls = f"about {_number(step.calls_per_s)} calls a second" if step.calls_per_s else "no calls"
        lines.append(f"  step {number} ({weight}): {calls}, {step.baking_s} s and {step.calls_min:,} calls at least")
        if step.calls_per_s:
            lines += [f"    {fault.fault:<26} {_seen(fault)}" for fault in step.faults]
        lines.append(f"    {'nothing is wrong':<26} {_lasts(step)}")
    guards = ", ".join(f"{one.guard} {'off' if one.off else format(one.floor, 'g')}" for one in plan.guards)
    return [*lines, f"  guards: {guards}"]


def duration(seconds: float) -> str:
    """In the unit that people would say: 0.9 s, 19 s, 12 min, 3.5 h, 2.1 d."""
    for unit, name in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= 2 * unit:
            return f"{_number(seconds / unit)} {name}"
    return f"{_number(seconds)} s"


def _seen(fault: "pb.PlannedFault") -> str:
    if fault.HasField("median_s") and fault.HasField("p99_s"):
        return f"median {duration(fault.median_s)}, 99 of 100 within {duration(fault.p99_s)}"
    return f"is not seen: {printable(fault.unseen_because)}"


def _lasts(step: "pb.PlannedStep") -> str:
    waits = printable(step.advance_waits_for)
    if step.HasField("advance_s"):
        return f"the step takes {duration(step.advance_s)} ({waits})"
    return f"the step does not end by itself: {waits}"


def _rate(plan: "pb.PlanRolloutResponse") -> str:
    span = "hour" if plan.minutes >= MINUTE_S - 1 else f"{duration(plan.minutes * MINUTE_S)}, since the server started"
    if not plan.calls_per_s:
        return f"there were no calls in the last {span}: it is not known how long a step needs"
    calls, rows = _number(plan.calls_per_s), _number(plan.rows_per_s)
    return f"in the last {span}: {calls} calls and {rows} rows a second on this server"


def _number(value: float) -> str:
    """Two digits or more."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
