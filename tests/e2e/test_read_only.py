"""Repositories that the server may read only, as they are mounted in production."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from onnxpress.protos import admin_pb2
from onnxpress.protos.inference_pb2 import ServerLiveRequest
from tests.answers import number_rows
from tests.inference_calls import DEADLINE_S, administered, connected, decode, request, same
from tests.model_repository import Models, deploy_on_disk
from tests.server_process import SERVE, ServerProcess

# Root may write where permissions forbid it, unless this capability is taken away.
AS_ANYBODY = ("setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
COMMAND = (*AS_ANYBODY, *SERVE)


@pytest.fixture
def repository(models: Models, tmp_path: Path) -> Iterator[Path]:
    """Versions 1 and 2 of `numbers`, and no permission to write."""
    root = models.copy(tmp_path / "repository", "numbers/1", "numbers/2")
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield root
    for folder in folders:
        folder.chmod(0o755)


def test_serves_from_a_read_only_repository_and_refuses_deploys(repository: Path, models: Models, tmp_path: Path):
    """With a state folder elsewhere it serves; a deploy, which cannot be made durable, changes nothing and says why."""
    feeds = {"input": number_rows(7)}
    expected = models.answers("numbers/2")(feeds)
    state = tmp_path / "state"
    with ServerProcess(repository, "--state-dir", str(state), command=COMMAND).ready() as server:
        with administered(server.admin) as admin, connected(server.grpc) as stub:
            assert same(decode(stub.ModelInfer(request(feeds), timeout=DEADLINE_S)), expected)
            with pytest.raises(grpc.RpcError) as refused:
                admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=1), timeout=DEADLINE_S)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert refused.value.details() == "deployment.json of 'numbers' cannot be written: Permission denied"
            assert same(decode(stub.ModelInfer(request(feeds), timeout=DEADLINE_S)), expected)
            deployment = admin.GetDeployment(admin_pb2.GetDeploymentRequest(model="numbers"), timeout=DEADLINE_S)
            assert (deployment.live_version, deployment.epoch) == (2, 0)
            history = admin.GetHistory(admin_pb2.GetHistoryRequest(model="numbers"), timeout=DEADLINE_S)
            assert history.records[-1].result.startswith("refused: deployment.json")
        assert server.stop() == 0, server.log
    assert (state / "audit/audit.jsonl").is_file()
    assert not list(repository.rglob("deployment.json"))


def test_replicas_of_a_read_only_repository_share_a_state_folder(repository: Path, tmp_path: Path):
    """As in a cluster: both serve, refuse deploys and say so in one audit log; a deployment put there is followed."""
    state = ("--state-dir", str(tmp_path / "state"))
    with (
        ServerProcess(repository, *state, command=COMMAND).ready() as one,
        ServerProcess(repository, *state, command=COMMAND).ready() as two,
        administered(one.admin) as first,
        administered(two.admin) as second,
    ):
        for admin in (first, second):
            with pytest.raises(grpc.RpcError, match="cannot be written: Permission denied"):
                admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=1), timeout=DEADLINE_S)
        told = [
            admin.GetHistory(admin_pb2.GetHistoryRequest(), timeout=DEADLINE_S).records for admin in (first, second)
        ]
        assert told[0] == told[1]
        assert [record.state for record in told[0]] == [admin_pb2.AUDIT_STATE_REFUSED] * 2
        assert len({record.server for record in told[0]}) == 2
        watches = [
            admin.WatchDeployments(admin_pb2.WatchDeploymentsRequest(model="numbers"), timeout=DEADLINE_S)
            for admin in (first, second)
        ]
        (repository / "numbers").chmod(0o755)
        deploy_on_disk(repository, "numbers", live=1, epoch=5)
        for watch in watches:
            assert next(state for state in watch if state.served_epoch == 5).served_version == 1
            watch.cancel()
        assert (one.stop(), two.stop()) == (0, 0)


def test_without_a_state_folder_it_says_which_setting_helps(repository: Path):
    """The state folder is in the repository unless told otherwise; that cannot be written here."""
    with ServerProcess(repository, command=COMMAND) as server:
        assert server.wait() == 3
    assert server.log.count("\n") == 0, server.log
    assert "the state folder cannot be used: Permission denied" in server.log
    assert "state_dir" in server.log


def test_needs_no_temporary_folder(models: Models, tmp_path: Path):
    """On a read-only root without a /tmp there is nothing but the state folder; both planes meet there."""
    bare = (
        "import sys, tempfile; tempfile._candidate_tempdir_list = list; "
        "from onnxpress.__main__ import main; sys.argv.insert(1, 'serve'); main()"
    )
    command = (sys.executable, "-c", bare)
    root = models.copy(tmp_path / "repository", "numbers/1")
    with ServerProcess(root, command=command).ready() as server:
        with connected(server.grpc) as stub:
            assert stub.ServerLive(ServerLiveRequest(), timeout=DEADLINE_S).live
            assert stub.ModelInfer(request({"input": number_rows(1)}), timeout=DEADLINE_S).model_version == "1"
        assert server.stop() == 0, server.log
