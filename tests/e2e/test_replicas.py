"""Two servers on one repository: what one of them deployed, the other starts from."""

from collections.abc import Callable

import pytest

from onnxpress.protos import admin_pb2
from tests.answers import number_rows
from tests.inference_calls import DEADLINE_S, administered, connected, request
from tests.model_repository import deploy_on_disk
from tests.server_process import ServerProcess

Start = Callable[..., ServerProcess]


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
