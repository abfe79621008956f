"""The admin port: who may call, what is told, watched and remembered; and the commands that speak to it."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from onnxpress.protos import admin_pb2
from onnxpress.protos.admin_pb2_grpc import AdminStub
from onnxpress.server.rpc.refusals import RECORDED_MAX
from tests.inference_calls import DEADLINE_S, administered
from tests.model_repository import Models, deploy_on_disk
from tests.server_process import PATIENCE_S, ROOT, ServerProcess

TOKEN = "correct horse"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture(scope="module")
def server(models: Models, tmp_path_factory: pytest.TempPathFactory, token_file: Path) -> Iterator[ServerProcess]:
    """A server whose admin port wants a token; numbers has two warm versions."""
    repository = models.copy(tmp_path_factory.mktemp("admin"), "numbers/1", "numbers/2", "price")
    deploy_on_disk(repository, "numbers", live=2, previous=1)
    deploy_on_disk(repository, "price", live=1)
    with ServerProcess(repository, "--admin-token-file", str(token_file)) as shared:
        yield shared.ready()


@pytest.fixture
def admin(server: ServerProcess) -> Iterator[AdminStub]:
    with administered(server.admin) as stub:
        yield stub


def bearer(token: str = TOKEN) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"), ("x-onnxpress-actor", "ada"))


CALLS = [
    ("Deploy", admin_pb2.DeployRequest(model="numbers", version=1)),
    ("Rollback", admin_pb2.RollbackRequest(model="numbers")),
    ("ChangeRollout", admin_pb2.ChangeRolloutRequest(model="numbers", action="ROLLOUT_ACTION_ABORT")),
    ("GetPairs", admin_pb2.GetPairsRequest(model="numbers")),
    ("PlanRollout", admin_pb2.PlanRolloutRequest(model="numbers")),
    ("GetDeployment", admin_pb2.GetDeploymentRequest(model="numbers")),
    ("ListModels", admin_pb2.ListModelsRequest()),
    ("GetHistory", admin_pb2.GetHistoryRequest()),
    ("WatchDeployments", admin_pb2.WatchDeploymentsRequest()),
]


@pytest.mark.parametrize(("method", "message"), CALLS, ids=[name for name, _ in CALLS])
@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), "UNAUTHENTICATED"),
        (bearer("wrong"), "UNAUTHENTICATED"),
        ((("authorization", TOKEN),), "UNAUTHENTICATED"),
        (bearer(), None),
    ],
)
def test_credentials(
    admin: AdminStub, method: str, message: object, metadata: tuple[tuple[str, str], ...], code: str | None
) -> None:
    """Every admin call needs the token: none and another are UNAUTHENTICATED, and neither answer tells it."""
    if code is None and method in ("Deploy", "Rollback", "ChangeRollout", "PlanRollout"):
        method, message = CALLS[3]

    def ask() -> object:
        answer = getattr(admin, method)(message, timeout=DEADLINE_S, metadata=metadata)
        return next(answer) if method == "WatchDeployments" else answer

    if code is None:
        assert ask()
        return
    with pytest.raises(grpc.RpcError) as caught:
        ask()
    assert caught.value.code().name == code
    assert TOKEN not in caught.value.details()


def test_what_is_told_watched_and_remembered(admin: AdminStub) -> None:
    """A deploy is seen by a watcher, told by GetDeployment, and remembered with who, why and what."""
    named = {"timeout": DEADLINE_S, "metadata": bearer()}
    before = admin.GetDeployment(admin_pb2.GetDeploymentRequest(model="numbers"), **named)
    target = 3 - before.live_version
    watch = admin.WatchDeployments(admin_pb2.WatchDeploymentsRequest(model="numbers"), **named)
    assert next(watch).epoch == before.epoch
    done = admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=target, reason="größer"), **named)
    seen = next(state for state in watch if state.epoch == done.epoch)
    watch.cancel()
    told = admin.GetDeployment(admin_pb2.GetDeploymentRequest(model="numbers"), **named)
    assert (seen.live_version, told.live_version, told.previous_version) == (target, target, before.live_version)
    assert (told.reason, told.actor) == ("größer", "token on behalf of ada")
    assert {v.version: v.state for v in told.versions} == dict.fromkeys((1, 2), admin_pb2.VERSION_STATE_READY)
    record = admin.GetHistory(admin_pb2.GetHistoryRequest(model="numbers", limit=1), **named).records[-1]
    assert (record.action, record.to_version, record.epoch, record.result) == ("deploy", target, done.epoch, "ok")
    assert (record.actor, record.reason) == ("token on behalf of ada", "größer")
    assert record.digest == next(v.digest for v in told.versions if v.version == target)
    listed = admin.ListModels(admin_pb2.ListModelsRequest(), **named).models
    assert [model.model for model in listed] == ["numbers", "price"]


def test_unknown_models_are_not_found(admin: AdminStub) -> None:
    """Whatever is asked of a model that does not exist is NOT_FOUND and names those that do."""
    for call, message in (
        (admin.GetDeployment, admin_pb2.GetDeploymentRequest(model="nosuch")),
        (admin.Rollback, admin_pb2.RollbackRequest(model="nosuch")),
    ):
        with pytest.raises(grpc.RpcError, match="price") as caught:
            call(message, timeout=DEADLINE_S, metadata=bearer())
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError, match="nosuch"):
        next(
            admin.WatchDeployments(
                admin_pb2.WatchDeploymentsRequest(model="nosuch"), timeout=DEADLINE_S, metadata=bearer()
            )
        )


def test_verdicts_of_the_gate_are_told(server: ServerProcess, admin: AdminStub) -> None:
    """As they lie beside the packages at the moment: a damaged one, one on other bytes than the loaded ones, none."""
    named = {"timeout": DEADLINE_S, "metadata": bearer()}
    request = admin_pb2.GetDeploymentRequest(model="price")
    (told,) = admin.GetDeployment(request, **named).versions
    assert not told.HasField("gate")
    path = server.repository / "price/1.gate.json"
    document = {
        "schema": "onnxpress.comparison/v1", "verdict": "failed", "reasons": ["too slow"], "champion": 3,
        "metric": "rmse", "gain": -0.5, "gain_low": -0.75, "gain_high": 0.25, "sha256": {"challenger": told.digest},
        "finished_at": "2026-11-27T09:04:44.350Z",
    }  # fmt: skip
    path.write_text(json.dumps(document))
    (version,) = admin.GetDeployment(request, **named).versions
    gate = version.gate
    assert (gate.verdict, gate.champion, gate.metric) == (admin_pb2.GATE_VERDICT_FAILED, 3, "rmse")
    assert (gate.gain, gate.gain_low, gate.gain_high, list(gate.reasons)) == (-0.5, -0.75, 0.25, ["too slow"])
    assert gate.finished_at.ToJsonString() == "2026-11-27T09:04:44.350Z"
    path.write_text(json.dumps(document | {"sha256": {"challenger": "0" * 64}}))
    (version,) = admin.GetDeployment(request, **named).versions
    assert version.gate.verdict == admin_pb2.GATE_VERDICT_STALE
    path.write_text("{")
    (version,) = admin.GetDeployment(request, **named).versions
    assert version.gate.verdict == admin_pb2.GATE_VERDICT_UNREADABLE
    path.unlink()


def onnxpress(server: ServerProcess, token_file: Path | None, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and error of a command."""
    where = ["--server", server.admin, *(["--token-file", str(token_file)] if token_file else [])]
    child = subprocess.run(
        [sys.executable, "-m", "onnxpress", *arguments, *where],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert "Traceback" not in child.stderr, child.stderr
    return child.returncode, child.stdout, child.stderr


def test_commands(server: ServerProcess, token_file: Path) -> None:
    """deploy, rollback, status and history do what they say, in words for people."""
    assert onnxpress(server, token_file, "deploy", "numbers", "1")[0] == 0
    code, told, _ = onnxpress(server, token_file, "deploy", "numbers", "2", "--reason", "ticket 7")
    assert code == 0
    assert told.startswith("numbers: version 2 is live (before: 1), epoch ")
    code, told, _ = onnxpress(server, token_file, "deploy", "numbers", "2")
    assert (code, "nothing changed" in told) == (0, True)
    code, told, _ = onnxpress(server, token_file, "rollback", "numbers", "--dry-run")
    assert code == 0
    assert told.startswith("numbers: a rollback would make version 1 live: it was live before version 2")
    code, told, _ = onnxpress(server, token_file, "rollback", "numbers")
    assert (code, "version 1 is live (before: 2)" in told) == (0, True)
    assert "back to version 1, since it was live before version 2 and was not rolled back from" in told
    code, told, _ = onnxpress(server, token_file, "status", "numbers")
    assert code == 0
    assert "numbers: version 1 live" in told
    assert [line.split()[:2] for line in told.splitlines()[1:]] == [["*", "1"], ["2", "available"]]
    code, told, _ = onnxpress(server, token_file, "history", "numbers", "--limit", "2")
    assert code == 0
    assert [("deploy" in line, "rollback" in line) for line in told.splitlines()] == [(True, False), (False, True)]
    assert "'ticket 7'" in told


def test_commands_that_are_refused(server: ServerProcess, token_file: Path) -> None:
    """A refusal is one line and exit 3; a wrong command line exit 2; a server that is not there exit 1."""
    code, told, error = onnxpress(server, token_file, "deploy", "numbers", "9")
    assert (code, told, error.count("\n")) == (3, "", 1)
    assert "no version 9" in error
    code, _, error = onnxpress(server, None, "status")
    assert (code, "UNAUTHENTICATED" in error) == (3, True)
    assert onnxpress(server, token_file, "deploy", "numbers", "0")[0] == 2
    assert onnxpress(server, Path("/nonexistent"), "status")[0] == 2
    child = subprocess.run(
        [sys.executable, "-m", "onnxpress", "status", "--server", "127.0.0.1:1"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (child.returncode, child.stderr) == (1, "onnxpress status: no server answers at 127.0.0.1:1\n")


@pytest.mark.parametrize(
    ("steps", "guards", "message"),
    [
        ([], [], "rollout.steps must have 1 to 20 steps, got 0"),
        ([0.001], [], "weight must be 0, or 0.01 to 99.99 per cent, got 0.001"),
        ([100.0], [], "weight must be 0, or 0.01 to 99.99 per cent, got 100"),
        ([0.0, 10.0], [], "a step of weight 0 needs rollout.shadow"),
        ([50.0, 10.0], [], "weights of a rollout must grow from step to step, got 50, 10"),
        ([10.0], [{"guard": "luck"}], "there is no guard 'luck'; there are errors, refused, invalid, slow"),
        ([10.0], [{"guard": "scores", "floor": 1.5}], "floor of guard 'scores' must be between 0 and 1, got 1.5"),
    ],
)
def test_plans_that_are_refused(admin: AdminStub, steps: list[float], guards: list[dict], message: str) -> None:
    """The message says what is wrong and what would be right; nothing has changed."""
    plan = admin_pb2.RolloutPlan(steps=[{"weight": weight} for weight in steps], guards=guards)
    with pytest.raises(grpc.RpcError) as caught:
        admin.Deploy(
            admin_pb2.DeployRequest(model="price", version=1, rollout=plan), timeout=DEADLINE_S, metadata=bearer()
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in caught.value.details()


def test_rollouts_out_of_turn(admin: AdminStub) -> None:
    """An unknown action is INVALID_ARGUMENT; one without a rollout, or a rollout of the live version, is refused."""
    for request, code, message in (
        (admin_pb2.ChangeRolloutRequest(model="price"), "INVALID_ARGUMENT", "action must be one of ADVANCE, "),
        (
            admin_pb2.ChangeRolloutRequest(model="price", action="ROLLOUT_ACTION_PAUSE"),
            "FAILED_PRECONDITION",
            "model 'price' has no rollout",
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            admin.ChangeRollout(request, timeout=DEADLINE_S, metadata=bearer())
        assert caught.value.code().name == code
        assert message in caught.value.details()
    live = admin_pb2.DeployRequest(model="price", version=1, rollout=admin_pb2.RolloutPlan(steps=[{"weight": 10.0}]))
    with pytest.raises(grpc.RpcError, match="version 1 of model 'price' is live already"):
        admin.Deploy(live, timeout=DEADLINE_S, metadata=bearer())


@pytest.fixture
def fresh(models: Models, tmp_path: Path, token_file: Path) -> Iterator[AdminStub]:
    """The admin port of a server of its own, which has refused nobody yet."""
    repository = models.copy(tmp_path, "price")
    with (
        ServerProcess(repository, "--admin-token-file", str(token_file)) as server,
        administered(server.ready().admin) as stub,
    ):
        yield stub


def test_refused_calls_are_remembered(fresh: AdminStub) -> None:
    """Every admin call that is refused is in the history, at once: who, what, which version, with status and message.

    What the gate refused, what the request's values refuse, and what the deployer refuses look alike.
    """
    named = {"timeout": DEADLINE_S, "metadata": bearer()}
    rollout = admin_pb2.RolloutPlan(steps=[{"weight": 10.0}])
    asked = (
        ("Deploy", admin_pb2.DeployRequest(model="price", version=1), ()),
        ("GetHistory", admin_pb2.GetHistoryRequest(model="price"), bearer("wrong")),
        ("Deploy", admin_pb2.DeployRequest(model="price"), bearer()),
        ("Deploy", admin_pb2.DeployRequest(model="price", version=1, expected_epoch=77), bearer()),
        ("Deploy", admin_pb2.DeployRequest(model="price", version=9), bearer()),
        ("Deploy", admin_pb2.DeployRequest(model="no\nsuch" * 100, version=1), bearer()),
        ("Deploy", admin_pb2.DeployRequest(model="price", version=1, rollout=rollout), bearer()),
        ("Rollback", admin_pb2.RollbackRequest(model="price", reason="worse"), bearer()),
        ("ChangeRollout", admin_pb2.ChangeRolloutRequest(model="price"), bearer()),
        ("ChangeRollout", admin_pb2.ChangeRolloutRequest(model="price", action="ROLLOUT_ACTION_PAUSE"), bearer()),
        ("Rollback", admin_pb2.RollbackRequest(model="nosuch", dry_run=True), bearer()),  # asks, changes nothing
        ("GetDeployment", admin_pb2.GetDeploymentRequest(model="nosuch"), bearer()),
    )
    refused: list[tuple[str, str]] = []
    for method, message, metadata in asked:
        with pytest.raises(grpc.RpcError) as caught:
            getattr(fresh, method)(message, timeout=DEADLINE_S, metadata=metadata)
        refused.append((caught.value.code().name, caught.value.details()))
    told = fresh.GetHistory(admin_pb2.GetHistoryRequest(), **named).records
    assert [(one.action, one.model[:7], one.to_version) for one in told] == [
        ("deploy", "price", 1),
        ("GetHistory", "", 0),
        ("deploy", "price", 0),
        ("deploy", "price", 1),
        ("deploy", "price", 9),
        ("deploy", "no\\nsuc", 1),
        ("roll-out", "price", 1),
        ("rollback", "price", 0),
        ("rollout", "price", 0),
        ("pause", "price", 0),
    ]
    for record, (code, details) in zip(told, refused[:10], strict=True):
        assert record.state == admin_pb2.AUDIT_STATE_REFUSED
        assert record.code == code
        assert record.result.startswith(f"refused: {details[:20]}")
        assert max(len(record.model), len(record.result) / 5) <= 255
    assert {one.actor.split()[0] for one in told[2:]} == {"token"}
    assert [one.actor.partition(":")[0] for one in told[:2]] == ["ipv4", "ipv4"]
    assert told[1].actor.endswith(" on behalf of ada")
    assert told[7].reason == "worse"


def test_strangers_cannot_fill_the_log(models: Models, tmp_path: Path, token_file: Path) -> None:
    """Of a flood of calls without a token some are recorded, and the others counted when the server stops."""
    repository, calls = models.copy(tmp_path, "price"), RECORDED_MAX + 200
    with (
        ServerProcess(repository, "--admin-token-file", str(token_file)) as server,
        administered(server.ready().admin) as stub,
    ):
        asked = [stub.Deploy.future(admin_pb2.DeployRequest(model="m" * 9999, version=1)) for _ in range(calls)]
        assert {call.exception(DEADLINE_S).code() for call in asked} == {grpc.StatusCode.UNAUTHENTICATED}
        assert server.stop() == 0
    records = [json.loads(line) for line in (repository / ".onnxpress/audit/audit.jsonl").read_text().splitlines()]
    assert [record.get("code", "") for record in records] == ["UNAUTHENTICATED"] * RECORDED_MAX + [""]
    assert records[-1]["result"].endswith(": 200 UNAUTHENTICATED")


def test_a_refused_call_on_a_full_disk(models: Models, tmp_path: Path) -> None:
    """It is refused for its own reason and not for the record that cannot be written; the server says so in its log."""
    repository = models.copy(tmp_path, "numbers/1")
    with ServerProcess(repository) as server, administered(server.ready().admin) as stub:
        with pytest.raises(grpc.RpcError):
            stub.Deploy(admin_pb2.DeployRequest(model="numbers", version=8), timeout=DEADLINE_S)
        log = repository / ".onnxpress/audit/audit.jsonl"
        before = log.read_bytes()
        limit = (len(before) + 20, resource.RLIM_INFINITY)
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limit)
        for version, code in ((0, "INVALID_ARGUMENT"), (1, "ABORTED")):
            asked = admin_pb2.DeployRequest(model="numbers", version=version, expected_epoch=77)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Deploy(asked, timeout=DEADLINE_S)
            assert caught.value.code().name == code
        server.wait_for("is not in the audit log: the audit log cannot be written: File too large")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert log.read_bytes() == before
        assert server.stop() == 0
