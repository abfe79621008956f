"""Rollouts as the admin port takes and tells them."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf, isfinite
from typing import Any

from onnxpress.protos import admin_pb2 as pb
from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.rollouts.controller import Progress
from onnxpress.server.rollouts.evidence import CLEARS, CONVICTS
from onnxpress.server.rollouts.guards import NAMES, OPTIONAL
from onnxpress.server.rollouts.pairs import KeptRow
from onnxpress.server.versions.rollout import GuardPolicy, Plan, RolloutAction, Step

STEPS_MAX = 20
WEIGHT_MIN, WEIGHT_MAX = 0.01, 99.99  # per cent; one place of 10,000
YEAR_S = 365 * 24 * 3600


def plan_of(message: pb.RolloutPlan) -> Plan:
    """Raises InvalidRequestError that names what is wrong."""
    steps = tuple(Step(one.weight, one.baking_s, one.calls_min) for one in message.steps)
    if not 1 <= len(steps) <= STEPS_MAX:
        raise InvalidRequestError(f"rollout.steps must have 1 to {STEPS_MAX} steps, got {len(steps)}")
    if not 0 <= message.shadow <= 100:
        raise InvalidRequestError(f"rollout.shadow must be 0 to 100 per cent, got {message.shadow:g}")
    for step in steps:
        if not step.weight and not message.shadow:
            raise InvalidRequestError("a step of weight 0 needs rollout.shadow: otherwise nothing is compared")
        if step.weight and not WEIGHT_MIN <= step.weight <= WEIGHT_MAX:
            raise InvalidRequestError(
                f"a step's weight must be 0, or {WEIGHT_MIN} to {WEIGHT_MAX} per cent, got {step.weight:g}"
            )
        if step.baking_s > YEAR_S:
            raise InvalidRequestError(f"a step's baking_s must be at most a year, got {step.baking_s}")
    if any(after.weight <= before.weight for before, after in pairwise(steps)):
        weights = ", ".join(f"{step.weight:g}" for step in steps)
        raise InvalidRequestError(f"the weights of a rollout must grow from step to step, got {weights}")
    return Plan(steps, _guards_of(message), message.advance_without_evidence, message.shadow, message.hold)


def _guards_of(message: pb.RolloutPlan) -> dict[str, GuardPolicy]:
    guards = {}
    for one in message.guards:
        if one.guard not in NAMES:
            raise InvalidRequestError(f"there is no guard {one.guard[:64]!r}; there are {', '.join(NAMES)}")
        floor = one.floor if one.HasField("floor") else None
        if floor is not None and not 0 < floor < (inf if one.guard in OPTIONAL else 1):
            raise InvalidRequestError(f"the floor of guard {one.guard!r} must be between 0 and 1, got {floor:g}")
        guards[one.guard] = GuardPolicy(one.off, floor)
    return guards


def action_of(request: pb.ChangeRolloutRequest) -> RolloutAction:
    """Raises InvalidRequestError."""
    for action in RolloutAction:
        if request.action == pb.RolloutAction.Value(f"ROLLOUT_ACTION_{action.name}"):
            return action
    raise InvalidRequestError(f"action must be one of {', '.join(RolloutAction.__members__)}, got {request.action}")


def to_progress(progress: Progress) -> pb.RolloutProgress:
    message = pb.RolloutProgress(
        step_calls=progress.step_calls,
        next=progress.next,
        guards=[
            pb.GuardReading(
                guard=one.guard,
                evidence=one.evidence,
                convicts_at=CONVICTS,
                excess=one.excess,
                floor=one.floor,
                absence=one.absence,
                clears_at=CLEARS,
                text=one.text,
            )
            for one in progress.readings
        ],
    )
    if (copies := progress.copies) is not None:
        message.copies.CopyFrom(
            pb.Copies(
                share=100 * copies.share,
                pairs=copies.pairs.rows,
                flips=copies.pairs.flips,
                largest_difference=copies.pairs.largest,
                dropped=copies.dropped,
                none_because=copies.unanswerable,
            )
        )
    return message


def to_pairs(rows: Sequence[KeptRow]) -> pb.GetPairsResponse:
    return pb.GetPairsResponse(
        rows=[
            pb.PairedRow(
                flipped=row.flipped,
                difference=row.difference,
                inputs=_json(row.inputs),
                champion=_json(row.champion),
                candidate=_json(row.candidate),
            )
            for row in rows
        ]
    )


def _json(values: Mapping[str, list[Any]]) -> str:
    """NaN and infinities, which JSON has no number for, as null."""
    finite = {
        name: [None if isinstance(value, float) and not isfinite(value) else value for value in of]
        for name, of in values.items()
    }
    return json.dumps(finite, ensure_ascii=False)
