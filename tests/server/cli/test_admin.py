"""`deploy`, `rollback`, `status` and `history` against an admin port that answers what a test wants."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from onnxpress.__main__ import main
from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos.admin_pb2_grpc import AdminServicer, add_AdminServicer_to_server
from tests.documented import check_documented
from tests.terminal import on_terminal, onnxpress

AT = datetime(2026, 11, 23, 7, 5, 7, 250_000, UTC)
REASON = "better on the holdout, and by far the best that we have seen since the spring"
# Recolours the terminal and moves its cursor, for whoever prints it as it is.
HOSTILE = "\x1b[31mred\x1b[2J"


class FakeAdmin(AdminServicer):
    """Answers as a server with two versions of churn would."""

    def __init__(self) -> None:
        self.model = pb.GetDeploymentResponse(
            model="churn", epoch=7, live_version=2, previous_version=1, reason=REASON, actor="ana@prod-1"
        )
        self.model.updated_at.FromDatetime(AT)
        self.model.versions.add(version=1, state=pb.VERSION_STATE_FAILED, reason=f"not the digest {HOSTILE}")
        self.model.versions.add(version=2, state=pb.VERSION_STATE_READY, digest="d9d7e3d978b4" + "0" * 52)
        self.calls: list[Any] = []
        self.notices: list[str] = []

    def Deploy(self, request: pb.DeployRequest, context: grpc.ServicerContext) -> pb.DeployResponse:
        self.calls.append(request)
        if request.version > 2:
            context.abort(grpc.StatusCode.NOT_FOUND, "model 'churn' has no version 3; there are 1, 2")
        return pb.DeployResponse(model="churn", version=request.version, previous_version=1, epoch=8, changed=True)

    def ChangeRollout(self, request: pb.ChangeRolloutRequest, _: grpc.ServicerContext) -> pb.DeployResponse:
        self.calls.append(request)
        return pb.DeployResponse(model="churn", version=2, previous_version=2, epoch=8, changed=True)

    def Rollback(self, request: pb.RollbackRequest, _: grpc.ServicerContext) -> pb.DeployResponse:
        self.calls.append(request)
        return pb.DeployResponse(model="churn", version=1, previous_version=2, epoch=9, changed=not request.dry_run)

    def PlanRollout(self, request: pb.PlanRolloutRequest, _: grpc.ServicerContext) -> pb.PlanRolloutResponse:
        self.calls.append(request)
        plan = pb.PlanRolloutResponse(model="churn", version=request.version, live_version=1, epoch=7, minutes=60)
        plan.guards.add(guard="errors", floor=0.0005)
        plan.guards.add(guard="difference", off=True)
        for step in request.rollout.steps:
            planned = plan.steps.add(
                weight=step.weight, calls_per_s=4.2, baking_s=step.baking_s, advance_s=300, advance_waits_for="its time"
            )
            planned.faults.add(fault="30 ms more", guard="slow", unseen_because="the guard slow is off")
            planned.faults.add(fault="5 % of the calls fail", guard="errors", median_s=1.5, p99_s=3)
        plan.steps.add(advance_waits_for="somebody decides").faults.add()
        return plan

    def GetDeployment(self, _: pb.GetDeploymentRequest, __: grpc.ServicerContext) -> pb.GetDeploymentResponse:
        return self.model

    def ListModels(self, _: pb.ListModelsRequest, __: grpc.ServicerContext) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=[self.model, pb.GetDeploymentResponse(model="price")], notices=self.notices)

    def GetHistory(self, request: pb.GetHistoryRequest, _: grpc.ServicerContext) -> pb.GetHistoryResponse:
        self.calls.append(request)
        if request.model == "price":
            return pb.GetHistoryResponse()
        record = pb.AuditRecord(
            sequence=3, actor="ana@prod-1", action="deploy", model="churn", from_version=1, to_version=2, epoch=7,
            digest="d9d7e3d978b4", reason=REASON, result="ok",
        )  # fmt: skip
        record.at.FromDatetime(AT)
        return pb.GetHistoryResponse(records=[record])


@pytest.fixture
def admin() -> Iterator[tuple[FakeAdmin, str]]:
    servicer = FakeAdmin()
    server = grpc.server(ThreadPoolExecutor(2))
    add_AdminServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    "words",
    [("deploy", "churn", "2"), ("rollback", "churn"), ("rollout", "pause", "churn"), ("status",), ("history", "churn")],
    ids=lambda w: w[0],
)
def test_json_has_the_documented_keys(
    admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """`--output json` prints one object with the keys and types of docs/cli.md, and nothing else."""
    code, out, err = run(capsys, *words, "--server", admin[1], "--output", "json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["schema"] == f"onnxpress.{words[0]}/v1"
    check_documented(told)


def test_json_of_a_plan_has_the_documented_keys(
    admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run prints the plan, with null where a fault is not seen and where a step does not end."""
    words = ("deploy", "churn", "2", "--canary", "10", "--dry-run", "--allow-breaking", "--expected-epoch", "7")
    code, out, err = run(capsys, *words, "--server", admin[1], "--output", "json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["schema"] == "onnxpress.plan/v1"
    check_documented(told)
    assert told["steps"][0]["faults"][0]["median_s"] is None
    (request,) = admin[0].calls
    assert (request.allow_breaking, request.expected_epoch, len(request.rollout.steps)) == (True, 7, 2)
    assert "median 1.5 s" in run(capsys, *words, "--server", admin[1])[1]
    assert {type(call) for call in admin[0].calls} == {pb.PlanRolloutRequest}, "nothing is deployed"


def test_json_holds_the_facts_as_they_are(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are numbers, states are words, times are UTC, and what is not there is null."""
    churn, price = json.loads(run(capsys, "status", "--server", admin[1], "--output", "json")[1])["models"]
    assert (churn["epoch"], churn["live_version"], churn["updated_at"]) == (7, 2, "2026-11-23T07:05:07.250Z")
    assert [one["state"] for one in churn["versions"]] == ["failed", "ready"]
    assert churn["versions"][0]["reason"] == f"not the digest {HOSTILE}"
    assert (price["updated_at"], price["versions"]) == (None, [])


def test_json_tells_a_dry_run_from_a_rollback(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A program that asked where a rollback would go must not take the answer for what is live."""
    told = [
        json.loads(run(capsys, "rollback", "churn", *flags, "--server", admin[1], "--output", "json")[1])
        for flags in ((), ("--dry-run",))
    ]
    assert [(one["dry_run"], one["changed"], one["version"]) for one in told] == [(False, True, 1), (True, False, 1)]
    assert "would make version 1 live" in run(capsys, "rollback", "churn", "--dry-run", "--server", admin[1])[1]


def test_no_history_is_said(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """An empty audit log is not mistaken for a command that did nothing; for programs it is an empty list."""
    assert run(capsys, "history", "price", "--server", admin[1]) == (0, "no changes yet\n", "")
    told = json.loads(run(capsys, "history", "price", "--server", admin[1], "--output", "json")[1])
    assert told["records"] == []


def test_lines_for_a_pipe_are_plain(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Where no terminal is: one line a fact, of any length, without control characters of others."""
    code, out, _ = run(capsys, "status", "churn", "--server", admin[1])
    assert code == 0
    assert out.splitlines() == [
        f"churn: version 2 live, epoch 7, '{REASON}' by ana@prod-1",
        "       1  failed                   not the digest \\x1b[31mred\\x1b[2J",
        "  *    2  ready      d9d7e3d978b4",
    ]
    line = f"2026-11-23 07:05:07  churn  deploy   1 -> 2     epoch 7  ok  by ana@prod-1  '{REASON}'"
    assert run(capsys, "history", "--server", admin[1])[1].splitlines() == [line]


def test_what_is_wrong_is_told(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A replica that serves another version than is deployed says so under the model, the server's own first."""
    servicer, address = admin
    servicer.notices.append(f"the audit log was broken: line 3 {HOSTILE}")
    servicer.model.trouble = f"version 1 of epoch 6 answers here, not version 2 of epoch 7: {HOSTILE}"
    lines = run(capsys, "status", "--server", address)[1].splitlines()
    assert lines[0] == "notice: the audit log was broken: line 3 \\x1b[31mred\\x1b[2J"
    assert lines[1].startswith("churn: version 2 live, epoch 7")
    assert lines[2] == "churn: version 1 of epoch 6 answers here, not version 2 of epoch 7: \\x1b[31mred\\x1b[2J"
    assert lines[-1] == "price: nothing live, epoch 0"


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("command", ["status", "history"])
def test_tables_fit_the_terminal(admin: tuple[FakeAdmin, str], command: str, columns: int) -> None:
    """Every line is at most as wide as the terminal, and long cells are folded, not cut off."""
    shown = on_terminal(onnxpress(command, "churn", "--server", admin[1]), columns)
    assert shown.code == 0
    assert max(map(len, shown.lines)) <= columns
    words = " ".join(shown.text.split())
    for part in ("epoch", "churn", "spring", "ana@prod-1") if columns >= 80 else ():
        assert part in words
    assert "\x1b[2J" not in shown.raw


def test_a_narrow_terminal_breaks_no_word(admin: tuple[FakeAdmin, str]) -> None:
    """At 40 columns versions and records are blocks of labelled lines; only reasons take several."""
    shown = on_terminal(onnxpress("status", "churn", "--server", admin[1]), columns=40)
    assert "version 2" in shown.lines
    assert "state   ready" in shown.lines
    assert "digest  d9d7e3d978b4" in shown.lines
    shown = on_terminal(onnxpress("history", "churn", "--server", admin[1]), columns=40)
    assert "time (UTC) 2026-11-23 07:05:07" in shown.lines
    assert "change     deploy 1 -> 2" in shown.lines
    assert "spring' by ana@prod-1" in " ".join(shown.text.split())


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_is_for_terminals_that_want_it(
    admin: tuple[FakeAdmin, str], environment: dict[str, str], coloured: bool
) -> None:
    """A failed version is red, unless NO_COLOR is set or the terminal has no colours."""
    shown = on_terminal(onnxpress("status", "churn", "--server", admin[1]), environment=environment)
    assert (shown.code, shown.coloured) == (0, coloured)
    assert "failed" in shown.text


def test_what_is_typed_reaches_the_server(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Reason, expected epoch and limit are sent as given; an epoch of 0 is one."""
    servicer, address = admin
    run(capsys, "deploy", "churn", "2", "--reason", "ticket 7", "--expected-epoch", "0", "--server", address)
    run(capsys, "rollback", "churn", "--server", address)
    run(capsys, "history", "--limit", "5", "--server", address)
    deploy, rollback, history = servicer.calls
    assert (deploy.version, deploy.reason, deploy.HasField("expected_epoch"), deploy.expected_epoch) == (
        2, "ticket 7", True, 0,
    )  # fmt: skip
    assert not rollback.HasField("expected_epoch")
    assert history.limit == 5


def test_refusals_are_one_line(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """What the server declines is exit 3 and its own words, with JSON asked for or not."""
    told = "onnxpress deploy: model 'churn' has no version 3; there are 1, 2 (NOT_FOUND)\n"
    assert run(capsys, "deploy", "churn", "3", "--server", admin[1]) == (3, "", told)
    assert run(capsys, "deploy", "churn", "3", "--server", admin[1], "--output", "json") == (3, "", told)


@pytest.mark.parametrize(
    "words",
    [
        ("deploy", "churn"),
        ("deploy", "churn", "0"),
        ("deploy", "churn", "2", "--expected-epoch", "-1"),
        ("status", "--output", "xml"),
        ("status", "--token-file", "/nonexistent"),
        ("status", "--tls-ca-file", "/nonexistent"),
        ("status", "--tls-cert-file", "/nonexistent"),
        ("history", "--limit", "0"),
    ],
)
def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    """A command line that cannot be understood is exit 2, before any server is asked."""
    code, out, err = run(capsys, *words, "--server", "127.0.0.1:1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"onnxpress {words[0]}: ")


@pytest.mark.parametrize("content", [b"", b" \n", b"one\ntwo\n", "gr\u00fcn".encode(), bytes(range(128, 256))])
def test_a_token_that_cannot_be_sent_is_usage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    """An empty file, several lines, and what is not ASCII are one line that does not tell what the file holds."""
    (tmp_path / "token").write_bytes(content)
    told = f"onnxpress status: {tmp_path}/token must hold one token on one line, in printable ASCII\n"
    assert run(capsys, "status", "--token-file", str(tmp_path / "token")) == (2, "", told)


@pytest.mark.parametrize(
    ("flags", "weights"),
    [
        (("--canary", "10"), [10, 50]),
        (("--canary", "60"), [60]),
        (("--ab", "50"), [50]),
        (("--shadow", "100"), [0]),
        (("--shadow", "20", "--steps", "0,10", "--hold"), [0, 10]),
        (("--steps", "1,10,50", "--bake-s", "60", "--calls-min", "0", "--guard-off", "scores"), [1, 10, 50]),
    ],
)
def test_deploy_with_a_plan(
    admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], weights: list[float]
) -> None:
    """The steps go to the server as they were asked for, and the first line says what will happen."""
    code, out, _ = run(capsys, "deploy", "churn", "2", *flags, "--guard-floor", "disagree=0.5", "--server", admin[1])
    assert code == 0
    first = f"{weights[0]} %" if weights[0] else "copies only"
    assert out.startswith(f"churn: rolling out version 2, {first}")
    (request,) = admin[0].calls
    plan = request.rollout
    assert [step.weight for step in plan.steps] == weights
    assert plan.steps[0].baking_s == (60 if "--bake-s" in flags else 300)
    policies = {one.guard: (one.off, one.HasField("floor") and one.floor) for one in plan.guards}
    assert policies["disagree"] == (False, 0.5)
    assert ("scores" in policies) == ("--guard-off" in flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--canary", "10", "--steps", "5"), "exclude each other"),
        (("--steps", "ten"), "numbers with commas"),
        (("--guard-off", "slow"), "need --canary, --steps, --ab or --shadow"),
        (("--canary", "10", "--guard-floor", "slow"), "GUARD=NUMBER"),
        (("--dry-run",), "needs --canary, --steps, --ab or --shadow"),
    ],
)
def test_plans_that_make_no_sense(
    admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    """Usage errors, before the server is asked."""
    code, _, err = run(capsys, "deploy", "churn", "2", *flags, "--server", admin[1])
    assert (code, message in err, admin[0].calls) == (2, True, [])


def test_a_break_is_allowed_by_a_flag_alone(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """`allow_breaking` is sent with the flag, for a rollout too, and never without it."""
    run(capsys, "deploy", "churn", "2", "--server", admin[1])
    run(capsys, "deploy", "churn", "2", "--allow-breaking", "--server", admin[1])
    run(capsys, "deploy", "churn", "2", "--canary", "5", "--allow-breaking", "--server", admin[1])
    assert [call.allow_breaking for call in admin[0].calls] == [False, True, True]


def test_status_shows_the_verdicts_of_the_gate(
    admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each version that has one, with champion, gain, interval and reasons; for programs an object."""
    failed = admin[0].model.versions[1].gate
    failed.verdict, failed.champion, failed.metric = "GATE_VERDICT_FAILED", 1, "roc_auc"
    failed.gain, failed.gain_low, failed.gain_high = 0.00125, -0.002, 0.0041
    failed.reasons.append(f"the gain is below 0.002 {HOSTILE}")
    failed.finished_at.FromDatetime(AT)
    admin[0].model.versions[0].gate.verdict = "GATE_VERDICT_UNREADABLE"
    admin[0].model.versions[0].gate.reasons.append("1.gate.json cannot be read: it is empty")
    out = run(capsys, "status", "churn", "--server", admin[1])[1]
    why = "the gain is below 0.002 \\x1b[31mred\\x1b[2J"
    assert out.splitlines()[-2:] == [
        "  gate of version 1: unreadable; 1.gate.json cannot be read: it is empty",
        f"  gate of version 2: failed against version 1, roc_auc +0.00125 [-0.002, +0.0041]; {why}",
    ]
    told = json.loads(run(capsys, "status", "churn", "--server", admin[1], "--output", "json")[1])
    check_documented(told)
    gate = told["models"][0]["versions"][1]["gate"]
    assert (gate["verdict"], gate["gain"], gate["finished_at"]) == ("failed", 0.00125, "2026-11-23T07:05:07.250Z")


def test_deploy_without_a_plan_has_none(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A plain deploy goes live at once, as ever."""
    run(capsys, "deploy", "churn", "2", "--server", admin[1])
    assert not admin[0].calls[0].HasField("rollout")


def test_status_of_a_rollout(admin: tuple[FakeAdmin, str], capsys: pytest.CaptureFixture[str]) -> None:
    """State, weight, what comes next and each guard's evidence; after its end, why it ended."""
    rollout = admin[0].model.rollout
    rollout.candidate, rollout.state, rollout.reason = 3, "ROLLOUT_STATE_RUNNING", f"it began {HOSTILE}"
    rollout.steps.add(weight=10)
    progress = admin[0].model.progress
    progress.step_calls, progress.next = 1234, "the promotion waits for calls"
    progress.guards.add(guard="errors", evidence=0.5, convicts_at=6.7, absence=1.2, clears_at=3.0, text="1 of 9 failed")
    out = run(capsys, "status", "churn", "--server", admin[1])[1]
    assert "  rollout of version 3: running at 10 %, step 1 of 1, 1,234 calls\n" in out
    assert "    next      the promotion waits for calls\n" in out
    assert "    errors    ln E of harm 0.5 of 6.7, of no harm 1.2 of 3.0: 1 of 9 failed\n" in out
    admin[0].model.ClearField("progress")
    rollout.state = "ROLLOUT_STATE_ROLLED_BACK"
    out = run(capsys, "status", "churn", "--server", admin[1])[1]
    assert "  rollout of version 3: rolled back: it began" in out
    assert "\x1b" not in out
