"""S5: a deploy that fails changes nothing and says precisely why."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from onnxpress.protos import admin_pb2
from tests.answers import number_rows
from tests.e2e import broken_versions
from tests.e2e.broken_versions import BROKEN, Broken
from tests.inference_calls import DEADLINE_S, administered, connected, decode, request, same
from tests.model_repository import Models, deploy_on_disk
from tests.server_process import ServerProcess

FAILED = admin_pb2.VERSION_STATE_FAILED


@pytest.fixture(scope="module")
def server(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server whose version 1 is live and every other version broken: it must survive them all."""
    repository = models.copy(tmp_path_factory.mktemp("broken"), "numbers/1")
    broken_versions.make(repository / "numbers")
    deploy_on_disk(repository, "numbers", live=1)
    limits = (
        "--load-seconds-max",
        str(broken_versions.LOAD_SECONDS_MAX),
        "--load-mib-max",
        str(broken_versions.LOAD_MIB_MAX),
    )
    with ServerProcess(repository, *limits) as shared:
        yield shared.ready()


def snapshot(server: ServerProcess) -> tuple[bytes, bytes]:
    """What must stay: the deployment on disk, and the answer to a request."""
    with connected(server.grpc) as stub:
        answer = stub.ModelInfer(request({"input": number_rows(3)}), timeout=DEADLINE_S)
    return (server.repository / "numbers/deployment.json").read_bytes(), answer.SerializeToString()


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_broken_version(server: ServerProcess, broken: Broken) -> None:
    """A broken version is refused with its reason; the live one answers on, and the audit log tells the attempt."""
    version = BROKEN.index(broken) + 2
    before = snapshot(server)
    with administered(server.admin) as admin:
        with pytest.raises(grpc.RpcError) as caught:
            admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=version), timeout=DEADLINE_S)
        status = admin.GetDeployment(admin_pb2.GetDeploymentRequest(model="numbers"), timeout=DEADLINE_S)
        newest = admin.GetHistory(admin_pb2.GetHistoryRequest(model="numbers"), timeout=DEADLINE_S).records[-1]
    message = caught.value.details()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION, message
    assert [word for word in broken.words if word not in message] == [], message
    assert str(server.repository) not in message
    assert (status.epoch, status.live_version) == (1, 1)
    (told,) = (entry for entry in status.versions if entry.version == version)
    assert (told.state, told.reason) == (FAILED, message)
    assert (newest.to_version, newest.epoch, newest.result) == (version, 1, f"refused: {message}")
    assert snapshot(server) == before


def test_failed_version_answers_with_its_reason(server: ServerProcess) -> None:
    """A request that names a version which was refused is UNAVAILABLE and told why."""
    version = 2 + [broken.name for broken in BROKEN].index("golden rows off")
    with administered(server.admin) as admin, pytest.raises(grpc.RpcError):
        admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=version), timeout=DEADLINE_S)
    with connected(server.grpc) as stub, pytest.raises(grpc.RpcError, match="golden row 3") as caught:
        stub.ModelInfer(request({"input": number_rows(1)}, version=str(version)), timeout=DEADLINE_S)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        (admin_pb2.DeployRequest(model="numbers", version=99), "NOT_FOUND", ("no version 99", "there are 1, 2")),
        (admin_pb2.DeployRequest(model="nosuch", version=1), "NOT_FOUND", ("nosuch", "numbers")),
        (admin_pb2.DeployRequest(model="../numbers", version=1), "NOT_FOUND", ("../numbers",)),
        (admin_pb2.DeployRequest(model="numbers"), "INVALID_ARGUMENT", ("version", "positive integer", "0")),
        (admin_pb2.DeployRequest(model="numbers", version=1, expected_epoch=7), "ABORTED", ("epoch 1", "expected 7")),
    ],
)
def test_wrong_request(
    server: ServerProcess, asked: admin_pb2.DeployRequest, code: str, words: tuple[str, ...]
) -> None:
    """A deploy of what does not exist, or against another epoch, is refused and changes nothing."""
    before = snapshot(server)
    with administered(server.admin) as admin, pytest.raises(grpc.RpcError) as caught:
        admin.Deploy(asked, timeout=DEADLINE_S)
    assert caught.value.code().name == code, caught.value.details()
    assert [word for word in words if word not in caught.value.details()] == [], caught.value.details()
    assert snapshot(server) == before


def test_repaired_version_goes_live(server: ServerProcess, models: Models, tmp_path: Path) -> None:
    """What failed once may be tried again: a version put right is deployed, and rolled back."""
    version = len(BROKEN) + 2
    models.copy(tmp_path, "numbers/2")
    folder = server.repository / "numbers" / str(version)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"half written")
    with administered(server.admin) as admin:
        asked = admin_pb2.DeployRequest(model="numbers", version=version)
        with pytest.raises(grpc.RpcError, match="not an ONNX model"):
            admin.Deploy(asked, timeout=DEADLINE_S)
        (folder / "model.onnx").write_bytes((tmp_path / "numbers/2/model.onnx").read_bytes())
        assert admin.Deploy(asked, timeout=DEADLINE_S).changed
        with connected(server.grpc) as stub:
            feeds = {"input": number_rows(3)}
            answer = stub.ModelInfer(request(feeds), timeout=DEADLINE_S)
        assert same(decode(answer), models.answers("numbers/2")(feeds))
        assert admin.Rollback(admin_pb2.RollbackRequest(model="numbers"), timeout=DEADLINE_S).version == 1
