"""What `onnxpress deploy --dry-run` prints of a plan."""

import pytest

from onnxpress.protos import admin_pb2 as pb
from onnxpress.server.cli.plan import duration, plan_lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.3, "0.3 s"), (19, "19 s"), (119, "119 s"), (300, "5 min"), (4000, "67 min"), (9000, "2.5 h"), (2e5, "2.3 d")],
)
def test_durations(seconds: float, text: str) -> None:
    """In the unit that people would say."""
    assert duration(seconds) == text


def plan(calls: float) -> pb.PlanRolloutResponse:
    made = pb.PlanRolloutResponse(
        model="churn", version=3, live_version=2, epoch=7, minutes=60, calls_per_s=calls, rows_per_s=2 * calls
    )
    made.guards.add(guard="errors", floor=0.0005)
    made.guards.add(guard="slow", off=True)
    step = made.steps.add(weight=10, baking_s=300, calls_min=500, calls_per_s=calls / 10, advance_waits_for="its time")
    if calls:
        step.advance_s = 300
    step.faults.add(fault="5 % of the calls fail", guard="errors", median_s=19, p99_s=51)
    step.faults.add(fault="30 ms more", guard="slow", unseen_because="the guard slow is \x1b[31moff")
    return made


def test_a_plan() -> None:
    """The rate, and for each step when which fault is seen; text of the server cannot move the cursor."""
    assert plan_lines(plan(42.0)) == [
        "churn: version 3 would be rolled out beside version 2; nothing has changed",
        "  in the last hour: 42 calls and 84 rows a second on this server",
        "  step 1 (10 %): about 4.2 calls a second, 300 s and 500 calls at least",
        "    5 % of the calls fail      median 19 s, 99 of 100 within 51 s",
        "    30 ms more                 is not seen: the guard slow is \\x1b[31moff",
        "    nothing is wrong           the step takes 5 min (its time)",
        "  guards: errors 0.0005, slow off",
    ]


def test_a_plan_without_calls() -> None:
    """It says so once, instead of times."""
    made = plan(0.0)
    made.minutes, made.steps[0].weight, made.steps[0].advance_waits_for = 1.5, 0, "there are no calls"
    assert plan_lines(made)[1:4] == [
        "  there were no calls in the last 90 s, since the server started: it is not known how long a step needs",
        "  step 1 (copies only): no calls, 300 s and 500 calls at least",
        "    nothing is wrong           the step does not end by itself: there are no calls",
    ]
