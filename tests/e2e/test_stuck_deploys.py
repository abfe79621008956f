"""What the admin port is busy with is no matter of the data port's, streams included."""

import os
import sys

import pytest

from onnxpress.protos.admin_pb2 import DeployRequest
from tests.answers import number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, administered, connected, decode, request, same
from tests.model_repository import Models, deploy_on_disk
from tests.server_process import ServerProcess

PLANTED = (sys.executable, "-m", "tests.e2e.planted_server", "stuck deploys")
# As many as the control plane has threads.
DEPLOYS = len(os.sched_getaffinity(0)) + 4


@pytest.mark.parametrize("front", FRONTS)
def test_deploys_that_hang_delay_no_stream(
    front: str, tmp_path_factory: pytest.TempPathFactory, models: Models
) -> None:
    """With every thread of the control plane in a deploy that never ends, a stream is answered, and so is a call."""
    repository = models.copy(tmp_path_factory.mktemp("stuck"), "numbers/1")
    deploy_on_disk(repository, "numbers", live=1)
    with ServerProcess(repository, front=front, command=PLANTED) as server:
        server.ready()
        with administered(server.admin) as admin, connected(server.grpc) as stub:
            deploys = [admin.Deploy.future(DeployRequest(model="numbers", version=1)) for _ in range(DEPLOYS)]
            server.wait_for(f"stuck deploys: {DEPLOYS}")
            feeds = {"input": number_rows(3)}
            (answer,) = stub.ModelStreamInfer(iter([request(feeds)]), timeout=DEADLINE_S)
            expected = models.answers("numbers/1")(feeds)
            assert same(decode(answer.infer_response), expected)
            assert same(decode(stub.ModelInfer(request(feeds), timeout=DEADLINE_S)), expected)
            for deploy in deploys:
                deploy.cancel()
