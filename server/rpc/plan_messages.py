"""A planned rollout as the admin port tells it."""

from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos import deployment_pb2
from onnxpress.server.rollouts.forecast import StepForecast, forecast
from onnxpress.server.rollouts.forecast import Traffic as Rates
from onnxpress.server.rollouts.guards import FLOORS, OPTIONAL
from onnxpress.server.rollouts.pairs import is_float
from onnxpress.server.serving.lane import Lane
from onnxpress.server.telemetry.traffic import MINUTE_S, Asked
from onnxpress.server.versions.desired import Desired
from onnxpress.server.versions.rollout import GuardPolicy, Plan

MS_PER_S = 1e3


def to_plan(
    desired: Desired, version: int, plan: Plan, live: Lane | None, asked: tuple[Asked, float]
) -> pb.PlanRolloutResponse:
    """`live`: None if the live version is not loaded here; asked: of the model, in so many seconds."""
    counted, seconds = asked
    rates = _rates(counted, seconds)
    labels = live is None or any(not is_float(spec) for spec in live.signature.outputs)
    return pb.PlanRolloutResponse(
        model=desired.model,
        version=version,
        live_version=desired.version,
        epoch=desired.epoch,
        minutes=seconds / MINUTE_S,
        calls_per_s=rates.calls,
        rows_per_s=rates.rows,
        guards=_guards(plan),
        steps=[_step(one) for one in forecast(plan, rates, labels=labels)],
    )


def _rates(counted: Asked, seconds: float) -> Rates:
    if not counted.calls or seconds <= 0:
        return Rates(0.0, 0.0, 0.0)
    run_ms = MS_PER_S * counted.run_s / counted.runs if counted.runs else 0.0
    return Rates(counted.calls / seconds, counted.rows / seconds, counted.runs / seconds, run_ms)


def _guards(plan: Plan) -> list[deployment_pb2.GuardPolicy]:
    """Each guard that the rollout has or could have, with the floor that it takes."""
    told = []
    for name in (*FLOORS, *OPTIONAL):
        policy = plan.guards.get(name, GuardPolicy())
        floor = FLOORS.get(name) if policy.floor is None else policy.floor
        told.append(deployment_pb2.GuardPolicy(guard=name, off=policy.off or floor is None, floor=floor))
    return told


def _step(planned: StepForecast) -> pb.PlannedStep:
    step = planned.step
    return pb.PlannedStep(
        weight=step.weight,
        baking_s=step.baking_s,
        calls_min=step.calls_min,
        calls_per_s=planned.calls,
        faults=[
            pb.PlannedFault(
                fault=one.fault, guard=one.guard, median_s=one.median_s, p99_s=one.p99_s, unseen_because=one.why
            )
            for one in planned.faults
        ],
        advance_s=planned.advance_s,
        advance_waits_for=planned.advance_why,
    )
