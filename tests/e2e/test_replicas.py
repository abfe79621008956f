"""Two servers on one repository: what one of them deployed the other follows, or says why it cannot."""

import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import grpc
import numpy as np
import onnx
import pytest

from onnxpress.protos import admin_pb2
from onnxpress.server.versions.recovery import ENDED
from tests.answers import number_rows
from tests.e2e.test_crash import changes, read_audit
from tests.inference_calls import DEADLINE_S, administered, connected, request
from tests.model_repository import Models, deploy_on_disk
from tests.server_process import ServerProcess

Start = Callable[..., ServerProcess]
# Between a deploy on one server and the answers of the other: a poll, a child process that tries, a load.
CONVERGED_S = 2.0


def live(server: ServerProcess) -> str:
    """The version that answers a request which names none."""
    with connected(server.grpc) as stub:
        return stub.ModelInfer(request({"input": number_rows(1)}), timeout=DEADLINE_S).model_version


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_deploy_starts_from_what_another_replica_wrote(start: Start, version: int) -> None:
    """After epoch 7 elsewhere a deploy here is epoch 8, or nothing where that version is live by epoch 7."""
    server = start("numbers")
    deploy_on_disk(server.repository, "numbers", live=2, previous=3, epoch=7)
    with administered(server.admin) as stub:
        done = stub.Deploy(admin_pb2.DeployRequest(model="numbers", version=version), timeout=DEADLINE_S)
    assert (done.epoch, done.changed) == ((7, False) if version == 2 else (8, True))
    assert live(server) == str(version)


def test_a_rollback_goes_back_from_what_another_replica_wrote(start: Start) -> None:
    """What was live before the other replica's deploy is what a rollback here brings back."""
    server = start("numbers")
    deploy_on_disk(server.repository, "numbers", live=2, previous=1, epoch=7)
    with administered(server.admin) as stub:
        done = stub.Rollback(admin_pb2.RollbackRequest(model="numbers"), timeout=DEADLINE_S)
    assert (done.version, done.previous_version, done.epoch) == (1, 2, 8)
    assert live(server) == "1"


def deploy(server: ServerProcess, version: int) -> admin_pb2.DeployResponse:
    with administered(server.admin) as stub:
        return stub.Deploy(admin_pb2.DeployRequest(model="numbers", version=version), timeout=DEADLINE_S)


def awaited(server: ServerProcess, true: Callable[[admin_pb2.GetDeploymentResponse], bool]) -> float:
    """Seconds until a watcher of the server is told a state of which that is true."""
    began = monotonic()
    with administered(server.admin) as stub:
        watch = stub.WatchDeployments(admin_pb2.WatchDeploymentsRequest(model="numbers"), timeout=DEADLINE_S)
        next(state for state in watch if true(state))
        watch.cancel()
    return monotonic() - began


def test_replicas_follow_each_other(start: Start) -> None:
    """A deploy or rollback on either is live on the other within 2 s; nothing of it needs a restart or a call there."""
    one, two = start("numbers"), start("numbers")
    took = []
    for epoch, (here, there, version) in enumerate(((one, two, 1), (two, one, 2), (one, two, 3)), 1):
        assert deploy(here, version).epoch == epoch
        took.append(awaited(there, lambda state, epoch=epoch: state.served_epoch == epoch))
        assert (live(here), live(there)) == (str(version), str(version))
    with administered(two.admin) as stub:
        assert stub.Rollback(admin_pb2.RollbackRequest(model="numbers"), timeout=DEADLINE_S).version == 2
    took.append(awaited(one, lambda state: state.served_version == 2))
    assert live(one) == live(two) == "2"
    assert max(took) <= CONVERGED_S, took
    assert changes(one) == changes(two)
    assert [version for version, _, _ in changes(one)] == [1, 2, 3, 2]
    assert len({record["server"] for record in read_audit(one.repository)}) == 2


def make_larger(model: Path, folder: Path) -> None:
    """The model as another version, without a package, and with 2 MiB that nothing reads."""
    larger = onnx.load(model)
    larger.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1 << 19, np.float32), "padding"))
    folder.mkdir()
    onnx.save(larger, folder / "model.onnx")


def test_a_replica_that_cannot_follow_says_so(start: Start) -> None:
    """It answers with what it has, tells why in status and health detail, tries again, and deploys and rolls back."""
    one = start("numbers/1", "numbers/3")
    two = start(flags=("--model-mib-max", "1"))
    make_larger(one.repository / "numbers/1/model.onnx", one.repository / "numbers/4")
    assert deploy(one, 4).epoch == 1
    # Three attempts: the first, one after 1 s, one after 2 s more.
    awaited(two, lambda state: "attempt 4 in " in state.trouble)
    assert (live(one), live(two)) == ("4", "3")
    with administered(two.admin) as stub:
        told = stub.GetDeployment(admin_pb2.GetDeploymentRequest(model="numbers"), timeout=DEADLINE_S)
    assert (told.live_version, told.epoch, told.served_version, told.served_epoch) == (4, 1, 3, 0)
    assert told.trouble.startswith("version 3 of epoch 0 answers here, not version 4 of epoch 1: model.onnx ")
    with urllib.request.urlopen(f"http://{two.http}/readyz", timeout=DEADLINE_S) as answer:
        text = answer.read().decode()
        assert (answer.status, text.splitlines()[0]) == (200, "ready")
    assert "model 'numbers': version 3 of epoch 0 answers here, not version 4 of epoch 1" in text
    with administered(two.admin) as stub:
        done = stub.Rollback(admin_pb2.RollbackRequest(model="numbers"), timeout=DEADLINE_S)
    assert (done.version, done.previous_version, done.epoch) == (3, 4, 2)
    awaited(one, lambda state: state.served_epoch == 2)
    assert deploy(two, 1).epoch == 3
    awaited(one, lambda state: state.served_epoch == 3)
    assert (live(one), live(two)) == ("1", "1")


def test_a_replica_that_is_killed_is_told_by_the_other(start: Start) -> None:
    """Its last change is an intent while nobody knows better, and has its outcome after the other's next change."""
    two = start("numbers/1", "numbers/2", "numbers/3")
    command = (sys.executable, "-m", "tests.e2e.faulty_server", "after the intent", "1")
    with ServerProcess(two.repository, command=command) as one:
        with pytest.raises(grpc.RpcError):
            deploy(one.ready(), 1)
        assert one.wait() < 0
    assert changes(two) == [(1, "INTENT", "no outcome yet")]
    deploy(two, 2)
    assert changes(two) == [(1, "ABORTED", ENDED), (2, "COMMITTED", "ok")]
    assert len({record["server"] for record in read_audit(two.repository)}) == 2


def test_a_state_folder_serves_one_repository(start: Start, models: Models, tmp_path: Path) -> None:
    """A server of another repository is refused with who holds the folder; once that is gone it may have it."""
    one = start("bare", flags=("--state-dir", str(tmp_path / "state")))
    other = models.copy(tmp_path / "other", "numbers/1")
    with ServerProcess(other, "--state-dir", str(tmp_path / "state")) as refused:
        assert refused.wait() == 3
    assert f"the state folder is in use by pid {one.process.pid} on " in refused.lines[-1]
    assert one.stop() == 0
    with ServerProcess(other, "--state-dir", str(tmp_path / "state")) as two:
        two.ready()
        assert two.stop() == 0
    assert list((tmp_path / "state/servers").iterdir()) == []
